"""Generative adversarial network: two networks, two optimizers, and a training step with manual optimization.

Goodfellow et al., 2014, with the non-saturating loss, stabilised by the gradient penalty R1 on real images (Mescheder
et al., "Which Training Methods for GANs do actually Converge?", 2018).
"""

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..engine import Config, Count, Given, OptimizerConfig, Pixels, RefusedError, SchedulerConfig, build
from .generation import Batch, ImageGenerator


class GAN(ImageGenerator):
    """Train `generator` to make images that `discriminator` classifies as real, and `discriminator` to detect them.

    Each has its own optimizer and schedule, built from the same config node; the discriminator's learning rate is
    `discriminator_speed` times as high (Heusel et al., 2017). Since each loss depends on the opponent, `val/loss` is
    the Fréchet distance to the validation images.
    """

    # Metrics that `monitor` may name, and whether lower ("min") or higher ("max") is better; None: neither.
    logged = {"train/loss": None, "train/discriminator_loss": None, "val/loss": "min"}

    # 1. Computations

    def __init__(
        self,
        generator: Annotated[Config, Given("input_shape", "num_classes", "noise_size")],
        discriminator: Annotated[Config, Given("input_shape", "num_classes")],
        optimizer: OptimizerConfig,
        input_shape: list[Pixels],
        class_names: list[str],
        scheduler: SchedulerConfig | None = None,
        noise_size: Count = 64,
        gradient_penalty: NonNegativeFloat = 0.1,
        discriminator_speed: PositiveFloat = 2.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator = build(generator, input_shape=input_shape, num_classes=len(class_names), noise_size=noise_size)
        self.discriminator = build(discriminator, input_shape=input_shape, num_classes=len(class_names))
        self.noise_shape = (noise_size,)
        self.gradient_penalty = gradient_penalty

    def forward(self, noise: Tensor, classes: Tensor) -> Tensor:
        """Generate images (B, C, H, W) in [0, 1] from normal `noise` (B, noise_size) and `classes` (B,)."""
        return self.generator(noise, classes)

    def sample(self, noise: Tensor, classes: Tensor) -> Tensor:
        return self(noise, classes)

    # 2. Train loop

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Update the discriminator, then the generator. Returns the loss of the generator."""
        images, classes = batch
        optimizers: Any = self.optimizers()
        generator, discriminator = optimizers
        discriminator_loss = self.discriminator_loss(images, classes, self._generate(classes).detach())
        discriminator.zero_grad()
        self.manual_backward(discriminator_loss)
        discriminator.step()
        loss = self.generator_loss(classes, self._generate(classes))
        generator.zero_grad()
        self.manual_backward(loss)
        generator.step()
        schedulers: Any = self.lr_schedulers() or ()
        for scheduler in schedulers:
            scheduler.step()
        losses = {"train/loss": loss, "train/discriminator_loss": discriminator_loss}
        self.log_dict(losses, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss.detach()

    def _generate(self, classes: Tensor) -> Tensor:
        return self(torch.randn(len(classes), *self.noise_shape, device=self.device), classes)

    def discriminator_loss(self, images: Tensor, classes: Tensor, generated: Tensor) -> Tensor:
        """Loss () of telling `images` (B, C, H, W) from `generated`, both of `classes` (B,), plus the R1 penalty."""
        images = images.detach().requires_grad_()
        real = self.discriminator(images, classes)
        (slope,) = torch.autograd.grad(real.sum(), images, create_graph=True)
        penalty = slope.square().sum((1, 2, 3)).mean()
        classification = F.softplus(-real).mean() + F.softplus(self.discriminator(generated, classes)).mean()
        return classification + self.gradient_penalty / 2 * penalty

    def generator_loss(self, classes: Tensor, generated: Tensor) -> Tensor:
        """Loss () of having `generated` images of `classes` (B,) classified as real."""
        return F.softplus(-self.discriminator(generated, classes)).mean()

    # 3. Validation loop

    def on_validation_epoch_start(self) -> None:
        self.start_comparison()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.compare(batch, self.seeds(batch[0], batch_idx))

    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", self.distances["generated"].compute(), prog_bar=True, sync_dist=True)

    # 4. Test loop (the Fréchet distance is in ImageGenerator)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.compare(batch, self.seeds(batch[0], batch_idx))

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self.log("test/loss", self.distances["generated"].compute(), sync_dist=True)

    # 5. Optimizers

    def configure_optimizers(self) -> Any:
        node: dict[str, Any] = self.hparams["optimizer"]
        faster = {**node, "lr": node["lr"] * self.hparams["discriminator_speed"]}
        optimizers = [build(node, self.generator.parameters()), build(faster, self.discriminator.parameters())]
        if self.hparams["scheduler"] is None:
            return optimizers
        steps = int(self.trainer.estimated_stepping_batches)
        schedulers = [build(self.hparams["scheduler"], optimizer, total_steps=steps) for optimizer in optimizers]
        if isinstance(schedulers[0], ReduceLROnPlateau):
            raise RefusedError("model.scheduler: expected one that advances with each step, or null")
        return optimizers, schedulers
