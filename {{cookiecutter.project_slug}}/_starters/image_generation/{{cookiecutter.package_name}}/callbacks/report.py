"""Draw what a generative model makes: a grid of samples at intervals, and after the test samples and interpolations."""

from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ..datamodules.images import sheet
from ..engine import save_plot

ROWS = 12  # classes that are drawn; of more, the first ones
REAL = 4  # real images beside those generated
BETWEEN = 9  # images of an interpolation, its ends among them


class GenerationReport(Callback):
    """`samples_epoch_<n>.png` every `every_n_epochs`; after the test `samples.png` and `interpolations.png`.

    A row is a class, `per_class` images long. A column begins as the same noise, in each of the images, so that
    epochs and classes can be compared. It has to come before `ema` in the config, to draw with its averaged weights.
    """

    def __init__(self, every_n_epochs: PositiveInt = 20, per_class: PositiveInt = 10) -> None:
        self.every_n_epochs, self.per_class = every_n_epochs, per_class

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if trainer.sanity_checking or epoch % self.every_n_epochs:
            return
        panels = {f"generated, after epoch {epoch}": lambda: grid(pl_module, self.per_class)}
        names = pl_module.hparams["class_names"]
        save_plot(trainer, f"samples_epoch_{epoch:04}", lambda path: draw(panels, names, path))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        names = pl_module.hparams["class_names"]
        samples = {
            "generated": lambda: grid(pl_module, self.per_class),
            "real (test)": lambda: some_real(trainer, len(names)),
        }
        between = {"from one noise to another": lambda: interpolations(pl_module)}
        save_plot(trainer, "samples", lambda path: draw(samples, names, path))
        save_plot(trainer, "interpolations", lambda path: draw(between, names, path))


@torch.no_grad()
def grid(model: Any, columns: int) -> Tensor:
    """Generated images (rows, columns, C, H, W), a row a class."""
    return _sampled(model, model.noise_of(torch.arange(columns)))


@torch.no_grad()
def interpolations(model: Any) -> Tensor:
    """Generated images (rows, BETWEEN, C, H, W) on the way from one noise to another, along a great circle.

    On a straight line the noise in the middle would be weaker than any that the model has learnt from.
    """
    one, other = model.noise_of(torch.arange(2))
    angles = torch.linspace(0, torch.pi / 2, BETWEEN, device=one.device).reshape(-1, *[1] * one.ndim)
    return _sampled(model, angles.cos() * one + angles.sin() * other)


def _sampled(model: Any, noise: Tensor) -> Tensor:
    """Each noise (columns, …) as an image of each class."""
    rows, columns = min(ROWS, len(model.hparams["class_names"])), len(noise)
    classes = torch.arange(rows, device=noise.device).repeat_interleave(columns)
    return model.sample(noise.repeat(rows, *[1] * (noise.ndim - 1)), classes).unflatten(0, (rows, columns))


def some_real(trainer: Any, classes: int) -> Tensor:
    """The first real images of the test split (rows, REAL, C, H, W); white where a class has fewer."""
    images, targets = trainer.datamodule.splits["test"]
    chosen = images.new_ones(min(ROWS, classes), REAL, *images.shape[1:])
    for row, place in enumerate(chosen):
        found = images[targets == row][:REAL]
        place[: len(found)] = found
    return chosen


def draw(panels: dict[str, Any], names: list[str], path: Path) -> None:
    """Panels side by side, each a function that gives images (rows, columns, C, H, W) in [0, 1]; a row a class."""
    from matplotlib.figure import Figure

    sheets = {title: images().float().cpu() for title, images in panels.items()}
    columns = [each.shape[1] for each in sheets.values()]
    rows = next(iter(sheets.values())).shape[0]
    longest = max(map(len, names[:rows]))
    size = (1.0 + 0.08 * longest + 0.55 * sum(columns), 0.8 + 0.55 * rows)
    figure = Figure(figsize=size, layout="constrained")
    places = figure.subplots(1, len(sheets), width_ratios=columns, squeeze=False)[0]
    for axes, (title, images) in zip(places, sheets.items(), strict=True):
        pixels = sheet(images.flatten(0, 1), images.shape[1])
        axes.imshow(pixels.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        side = len(pixels) / rows
        axes.set_yticks([(row + 0.5) * side - 0.5 for row in range(rows)], names[:rows] if axes is places[0] else [])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    places[0].set_ylabel("class")
    figure.savefig(path, dpi=120, bbox_inches="tight", pad_inches=0.15)
