"""Flow matching: a network learns the velocity that moves noise to images along straight lines.

Lipman et al., "Flow Matching for Generative Modeling", 2023 (the conditional optimal-transport path, with no noise left
at its end), which equals the rectified flow of Liu et al., 2023.
"""

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from ..engine import Config, Draws, From0Below1, Given, OptimizerConfig, Pixels, SchedulerConfig, build
from .generation import Batch, ImageGenerator
from .optimization import build_optimizer, parameter_groups

GOLDEN_RATIO = 0.618034  # its multiples, modulo 1, fill [0, 1) evenly


class FlowMatching(ImageGenerator):
    """Train `network` to predict the velocity of `x_t = (1 - t) noise + t image`, images in [-1, 1], with MSE.

    Sampling integrates it from t = 0 to 1 in `sampling_steps` midpoint steps of two evaluations each. Training drops
    the class with probability `drop_class`, which `guidance` requires: above 1 it moves images towards what is typical
    of their class (Ho & Salimans, "Classifier-Free Diffusion Guidance", 2022), at twice the cost.
    """

    # Metrics that `monitor` may name, and whether lower ("min") or higher ("max") is better.
    logged = {"train/loss": "min", "val/loss": "min"}

    # 1. Computations

    def __init__(
        self,
        network: Annotated[Config, Given("input_shape", "num_classes")],
        optimizer: OptimizerConfig,
        input_shape: list[Pixels],
        class_names: list[str],
        scheduler: SchedulerConfig | None = None,
        sampling_steps: Draws = 10,
        guidance: NonNegativeFloat = 1.0,
        drop_class: From0Below1 = 0.0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = build(network, input_shape=input_shape, num_classes=len(class_names))
        if compile:
            # In place, so that the keys in checkpoints do not change. Not dynamic: a resumed run meets the shapes in
            # another order and must still get the same kernels.
            self.network.compile(dynamic=False)
        self.noise_shape = input_shape
        self.num_classes, self.drop_class = len(class_names), drop_class
        self.sampling_steps, self.guidance = sampling_steps, guidance

    def forward(self, x_t: Tensor, t: Tensor, classes: Tensor) -> Tensor:
        """Predict the velocity (B, C, H, W) at `x_t` (B, C, H, W) and times `t` (B,) in [0, 1].

        `classes` (B,) are integers; `num_classes` means "no class".
        """
        network = self.network if self.training else self.network.forward  # only training uses the compiled network
        return network(x_t, t, classes)

    def sample(self, noise: Tensor, classes: Tensor) -> Tensor:
        x, step = noise, 1 / self.sampling_steps
        for number in range(self.sampling_steps):
            middle = x + step / 2 * self._velocity(x, number * step, classes)
            x = x + step * self._velocity(middle, (number + 0.5) * step, classes)
        return ((x + 1) / 2).clamp(0, 1)

    def _velocity(self, x: Tensor, time: float, classes: Tensor) -> Tensor:
        t = torch.full((len(x),), time, device=x.device)
        velocity = self(x, t, classes)
        if self.guidance == 1:
            return velocity
        unconditional = self(x, t, torch.full_like(classes, self.num_classes))
        return unconditional + self.guidance * (velocity - unconditional)

    def loss(self, images: Tensor, classes: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Mean squared error () of the velocity at times `t` (B,) between `noise` and `images` (B, C, H, W)."""
        scaled, at = images * 2 - 1, t[:, None, None, None]
        return F.mse_loss(self((1 - at) * noise + at * scaled, t, classes), scaled - noise)

    # 2. Train loop

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, classes = batch
        if self.drop_class:
            classes = classes.where(torch.rand_like(images[:, 0, 0, 0]) >= self.drop_class, self.num_classes)
        loss = self.loss(images, classes, torch.randn_like(images), torch.rand_like(images[:, 0, 0, 0]))
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    # 3. Validation loop

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("val", batch, self.seeds(batch[0], batch_idx))

    # 4. Test loop (the Fréchet distance is in ImageGenerator)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        seeds = self.seeds(batch[0], batch_idx)
        self._evaluate("test", batch, seeds)
        self.compare(batch, seeds)

    def _evaluate(self, split: str, batch: Batch, seeds: Tensor) -> None:
        """Log the loss at noise and times fixed for each image, so that epochs can be compared."""
        images, classes = batch
        t = ((seeds + 0.5) * GOLDEN_RATIO % 1).to(images)
        loss = self.loss(images, classes, self.noise_of(seeds), t)
        self.log(f"{split}/loss", loss, prog_bar=True, batch_size=len(images), sync_dist=True)

    # 5. Optimizers

    def configure_optimizers(self) -> Any:
        return build_optimizer(self, parameter_groups(self.network, without=(nn.Embedding,)), monitor="val/loss")
