"""The LightningModule of super-resolution: what is computed, trained and measured, whatever the network."""

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
    """Trains `network` to add to bicubic interpolation what it lacks, by the mean absolute error of RGB images.

    `network`, `optimizer` and `scheduler` are config nodes: plain dicts with a `_target_`, so that a checkpoint holds
    plain values alone. `scale` is told by the datamodule. PSNR and SSIM are of the three channels together
    and leave out a border of `scale` pixels; a batch names the image that each of its regions is from.
    """

    # What `monitor` may name, and whether less or more of it is better.
    logged = {"train/loss": "min", "val/loss": "min", "val/psnr": "max", "val/ssim": "max"}

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
            # In place: a checkpoint's keys stay. Each shape by itself: a continued run meets them in another order, and
            # gets the same kernels.
            self.network.compile(dynamic=False)
        self.val_scores, self.test_scores, self.bicubic_scores = ImageScores(), ImageScores(), ImageScores()

    def forward(self, low: Tensor) -> Tensor:
        """Images (B, 3, h, w) in [0, 1] to images (B, 3, h * scale, w * scale), not quite within [0, 1]."""
        network = self.network if self.training else self.network.forward  # what is compiled is for training
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
        """What bicubic interpolation reaches is logged beside."""
        self._log_epoch("test", self.test_scores)
        self._log_epoch("test", self.bicubic_scores, suffix="_bicubic")

    def predict_step(self, batch: tuple[Tensor, int], batch_idx: int) -> Tensor:
        """Bytes (3, H, W) of one image of any size, on the CPU."""
        low, tile = batch
        return tiled(lambda part: _as_bytes(self(part)), low, self.scale, tile, halo=reach(self.network))

    def _evaluation_step(self, batch: tuple[Tensor, Tensor, Tensor], split: str, scores: ImageScores) -> Tensor:
        """Returns the enlarged images (B, 3, H, W), which callbacks may draw."""
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
        return build_optimizer(self, self.parameters())


def _as_bytes(images: Tensor) -> Tensor:
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)
