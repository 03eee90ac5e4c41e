"""LightningModule for super-resolution: loss, metrics and optimizer, for any network."""

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from torch import Tensor

from ..engine import Config, Given, OptimizerConfig, SchedulerConfig, build
from .enlarge import bicubic, reach, tiled
from .metrics import ImageScores, quality
from .optimization import build_optimizer


class SuperResolution(LightningModule):
    """Train `network` to correct bicubic interpolation, with the mean absolute error of RGB images as loss.

    `network`, `optimizer` and `scheduler` are config nodes: plain dicts with a `_target_`, so that checkpoints hold
    only plain values. The datamodule provides `scale`. PSNR and SSIM are computed on RGB without a border of `scale`
    pixels; a batch holds the image number of each region.
    """

    # Metrics that `monitor` may name, and whether lower ("min") or higher ("max") is better.
    logged = {"train/loss": "min", "val/loss": "min", "val/psnr": "max", "val/ssim": "max"}
    metric_units = {"psnr": "dB"}  # for the learning curves

    # 1. Computations

    def __init__(
        self,
        network: Annotated[Config, Given("scale")],
        optimizer: OptimizerConfig,
        scale: int,
        scheduler: SchedulerConfig | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.scale = scale
        self.network = build(network, scale=scale)
        if compile:
            # In place, so that the keys in checkpoints do not change. Not dynamic: a resumed run meets the shapes in
            # another order and must still get the same kernels.
            self.network.compile(dynamic=False)
        self.val_scores, self.test_scores, self.bicubic_scores = ImageScores(), ImageScores(), ImageScores()

    def forward(self, low: Tensor) -> Tensor:
        """Enlarge images (B, 3, h, w) in [0, 1] to (B, 3, h * scale, w * scale), not clipped to [0, 1]."""
        network = self.network if self.training else self.network.forward  # only training uses the compiled network
        return bicubic(low, self.scale) + network(low - 0.5)

    # 2. Train loop

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        low, high, _ = batch
        loss = F.l1_loss(self(low), high)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(high), sync_dist=True)
        return loss

    # 3. Validation loop

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._evaluation_step(batch, "val", self.val_scores)

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val", self.val_scores)

    # 4. Test loop

    def test_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        low, high, images = batch
        self.bicubic_scores.update(quality(bicubic(low, self.scale), high, border=self.scale), images)
        return self._evaluation_step(batch, "test", self.test_scores)

    def on_test_epoch_end(self) -> None:
        """Log the test metrics of the model and, for comparison, of bicubic interpolation."""
        self._log_epoch("test", self.test_scores)
        self._log_epoch("test", self.bicubic_scores, suffix="_bicubic")

    def predict_step(self, batch: tuple[Tensor, int], batch_idx: int) -> Tensor:
        """Enlarge one image of any size to bytes (3, H, W), on the CPU."""
        low, tile = batch
        return tiled(lambda part: _as_bytes(self(part)), low, self.scale, tile, halo=reach(self.network))

    def _evaluation_step(self, batch: tuple[Tensor, Tensor, Tensor], split: str, scores: ImageScores) -> Tensor:
        """Log the loss and update `scores`; return the enlarged images (B, 3, H, W), which callbacks may plot."""
        low, high, images = batch
        enlarged = self(low)
        self.log(f"{split}/loss", F.l1_loss(enlarged, high), prog_bar=True, batch_size=len(high), sync_dist=True)
        scores.update(quality(enlarged, high, border=self.scale), images)
        return enlarged

    def _log_epoch(self, split: str, scores: ImageScores, suffix: str = "") -> None:
        self.log_dict(
            {f"{split}/{name}{suffix}": value for name, value in scores.compute().items()},
            prog_bar=True,
            sync_dist=True,
        )
        scores.reset()

    # 5. Optimizers

    def configure_optimizers(self) -> Any:
        return build_optimizer(self, self.parameters(), monitor="val/loss")


def _as_bytes(images: Tensor) -> Tensor:
    """Convert images in [0, 1] to uint8."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)
