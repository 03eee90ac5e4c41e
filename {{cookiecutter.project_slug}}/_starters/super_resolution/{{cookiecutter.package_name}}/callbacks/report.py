"""Plot for super-resolution: low, bicubic, enlarged and true images side by side."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ..engine import save_figure, save_plot
from ..models.enlarge import bicubic
from ..models.metrics import quality


class Example(NamedTuple):
    """One test region: its number, the PSNR of bicubic interpolation in dB, and the images (3, H, W) to draw."""

    number: int
    psnr: float
    low: Tensor
    enlarged: Tensor
    true: Tensor


class SuperResolutionReport(Callback):
    """Save `enlarged.png` after the test, in the run's `plots/` and in the loggers, with PSNR and SSIM of each image.

    It shows the `examples` regions for which bicubic interpolation has the lowest PSNR, as they leave the most to gain.
    A plot that can't be drawn is a warning.
    """

    def __init__(self, examples: PositiveInt = 4) -> None:
        self.examples = examples
        self.hardest: list[Example] = []
        self.seen = 0

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.hardest, self.seen = [], 0

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Collect the enlarged images (B, 3, H, W) that `test_step` returns as `outputs`."""
        low, true, _ = batch
        scale = pl_module.hparams["scale"]
        psnr = quality(bicubic(low, scale), true, scale)["psnr"].tolist()
        for place in sorted(range(len(psnr)), key=psnr.__getitem__)[: self.examples]:
            images = (each[place].float().cpu() for each in (low, outputs, true))
            self.hardest.append(Example((self.seen + place) * trainer.world_size, psnr[place], *images))
        self.hardest = sorted(self.hardest, key=lambda each: each.psnr)[: self.examples]
        self.seen += len(psnr)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.hardest:
            return
        data: Any = getattr(trainer, "datamodule", None)
        numbers = torch.tensor([each.number for each in self.hardest])
        names = data.sample_ids("test", numbers) if hasattr(data, "sample_ids") else [f"region {n}" for n in numbers]
        scale = pl_module.hparams["scale"]
        save_plot(trainer, "enlarged", lambda path: draw_examples(self.hardest, names, scale, path))


def draw_examples(examples: list[Example], names: list[str], scale: int, path: Path) -> None:
    """Draw one row per example, with PSNR and SSIM against the true image above each image."""
    from matplotlib.figure import Figure

    high, wide = examples[0].low.shape[1:]
    titles = (f"low, {wide}x{high} pixels", "bicubic", "model", f"true, {wide * scale}x{high * scale} pixels")
    figure = Figure(figsize=(10.4, 2.9 * len(examples) + 0.5), layout="constrained")
    for row, example, name in zip(figure.subplots(len(examples), 4, squeeze=False), examples, names, strict=True):
        low, true = example.low[None], example.true[None]
        images = (F.interpolate(low, scale_factor=scale), bicubic(low, scale), example.enlarged[None], true)
        for axes, each, title in zip(row, images, titles, strict=True):
            scores = {key: value.item() for key, value in quality(each, true, scale).items()}
            subtitle = name if title == titles[-1] else f"{scores['psnr']:.2f} dB, SSIM {scores['ssim']:.3f}"
            axes.set_title(f"{title}\n{subtitle}", fontsize=9, parse_math=False)
            axes.imshow(each[0].clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.axis("off")
    figure.suptitle("Test regions with the lowest PSNR of bicubic interpolation; PSNR and SSIM against the true image")
    save_figure(figure, path)
