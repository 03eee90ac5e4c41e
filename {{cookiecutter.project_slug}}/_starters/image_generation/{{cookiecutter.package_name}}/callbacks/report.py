"""Plots for a generative model: samples at intervals, and samples and interpolations after the test."""

from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ..datamodules.image_store import as_floats
from ..datamodules.images import sheet
from ..engine import save_figure, save_plot

MAX_ROWS = 12  # classes drawn
REAL_COLUMNS = 4  # real images per class, next to the generated ones
STEPS_BETWEEN = 9  # columns of an interpolation, both ends included


class GenerationReport(Callback):
    """Save `samples_epoch_<n>.png` every `every_n_epochs`, and `samples.png` and `interpolations.png` after the test.

    Each row is a class, `per_class` images long. All images in a column start from the same noise, in every plot, so
    that classes and epochs can be compared. In the config it must precede `ema`, to draw with the averaged weights.
    """

    def __init__(self, every_n_epochs: PositiveInt = 20, per_class: PositiveInt = 10) -> None:
        self.every_n_epochs, self.per_class = every_n_epochs, per_class

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if trainer.sanity_checking or epoch % self.every_n_epochs:
            return
        panels = {f"Generated after epoch {epoch}, a noise per column": lambda: grid(pl_module, self.per_class)}
        names = pl_module.hparams["class_names"]
        save_plot(trainer, f"samples_epoch_{epoch:04}", lambda path: draw(panels, names, path))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        names = pl_module.hparams["class_names"]
        samples = {
            "Generated, a noise per column": lambda: grid(pl_module, self.per_class),
            "Real (test)": lambda: real_images(trainer, len(names)),
        }
        between = {"Generated from one noise to another": lambda: interpolations(pl_module)}
        save_plot(trainer, "samples", lambda path: draw(samples, names, path))
        save_plot(trainer, "interpolations", lambda path: draw(between, names, path))


@torch.no_grad()
def grid(model: Any, columns: int) -> Tensor:
    """Generate images (rows, columns, C, H, W), one class per row."""
    return _sample(model, model.noise_of(torch.arange(columns)))


@torch.no_grad()
def interpolations(model: Any) -> Tensor:
    """Generate images (rows, STEPS_BETWEEN, C, H, W) between two noises, along a great circle.

    Halfway along a straight line the noise would be weaker than any that the model was trained on.
    """
    start, end = model.noise_of(torch.arange(2))
    angles = torch.linspace(0, torch.pi / 2, STEPS_BETWEEN, device=start.device).reshape(-1, *[1] * start.ndim)
    return _sample(model, angles.cos() * start + angles.sin() * end)


def _sample(model: Any, noise: Tensor) -> Tensor:
    """Generate an image of each class from each noise (columns, …)."""
    rows, columns = min(MAX_ROWS, len(model.hparams["class_names"])), len(noise)
    classes = torch.arange(rows, device=noise.device).repeat_interleave(columns)
    return model.sample(noise.repeat(rows, *[1] * (noise.ndim - 1)), classes).unflatten(0, (rows, columns))


def real_images(trainer: Any, classes: int) -> Tensor:
    """Return the first test images of each class (rows, REAL_COLUMNS, C, H, W), white if it has fewer."""
    images, targets = trainer.datamodule.splits["test"]
    chosen = torch.ones(min(MAX_ROWS, classes), REAL_COLUMNS, *images.shape[1:])
    for row, cells in enumerate(chosen):
        numbers = (targets == row).nonzero()[:REAL_COLUMNS, 0]
        cells[: len(numbers)] = as_floats(images[numbers])
    return chosen


def draw(panels: dict[str, Any], names: list[str], path: Path) -> None:
    """Draw panels side by side; each is a function that returns images (rows, columns, C, H, W), one class per row."""
    from matplotlib.figure import Figure

    sheets = {title: images().float().cpu() for title, images in panels.items()}
    columns = [each.shape[1] for each in sheets.values()]
    rows = next(iter(sheets.values())).shape[0]
    longest = max(map(len, names[:rows]))
    size = (1.0 + 0.08 * longest + 0.55 * sum(columns), 0.8 + 0.55 * rows)
    figure = Figure(figsize=size, layout="constrained")
    all_axes = figure.subplots(1, len(sheets), width_ratios=columns, squeeze=False)[0]
    for axes, (title, images) in zip(all_axes, sheets.items(), strict=True):
        pixels = sheet(images.flatten(0, 1), images.shape[1])
        axes.imshow(pixels.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        side = len(pixels) / rows
        axes.set_yticks([(row + 0.5) * side - 0.5 for row in range(rows)], names[:rows] if axes is all_axes[0] else [])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    all_axes[0].set_ylabel("class")
    save_figure(figure, path, bbox_inches="tight", pad_inches=0.15)
