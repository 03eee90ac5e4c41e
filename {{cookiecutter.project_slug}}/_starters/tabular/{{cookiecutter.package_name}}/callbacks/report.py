"""Report on the test rows of a table: their predictions, plots of these, and the importance of each column."""

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ..engine import log, save_figure, save_plot
from .class_report import Predicted, decisions_of, draw_confusion, gathered, save_class_plots, write_test_table

MIN_ROWS = 50  # for an importance, however many columns there are


class PredictedRows(NamedTuple):
    """All test rows: numbers (N, F, 2), categories (N, C), targets, and predictions (N,) or logits (N, K).

    Targets are classes (N,) or numbers (N, 2), each as two float32; several are (N, K, 2), and predictions (N, K).
    """

    numbers: Tensor
    categories: Tensor
    targets: Tensor
    predictions: Tensor

    @property
    def true(self) -> np.ndarray:
        """Return the target numbers (N,) in float64."""
        return self.targets.double().sum(-1).numpy()


class TabularReport(Callback):
    """After the test, write a table of all rows to the run's `predictions/`, and save plots.

    These are `importance.png`, with `predicted_and_true.png` and `residuals.png` for a number, `residuals_1.png` and so
    on for several, or, for a class, `confusion_matrix.png`, `roc.png`, `precision_recall.png` and `reliability.png`.
    The importance of a column is the rise of the error when its values are permuted among `rows` test rows, `repeats`
    times; fewer rows and repeats if that would take longer than `seconds`. A plot that can't be drawn is a warning.
    """

    def __init__(self, rows: PositiveInt = 2000, repeats: PositiveInt = 3, seconds: PositiveFloat = 30) -> None:
        self.rows, self.repeats, self.seconds = rows, repeats, seconds
        self.batches: list[tuple[Tensor, ...]] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.batches = []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Collect what `forward` returns for the batch as `outputs`."""
        self.batches.append(tuple(part.cpu() for part in (*batch, outputs)))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = gathered(trainer, *zip(*self.batches, strict=True)) if self.batches else gathered(trainer, [])
        if found is None:
            return
        tested = PredictedRows(*found)
        name, class_names = without_formulas(named(pl_module)), pl_module.hparams["class_names"]
        if class_names:
            classes = Predicted(tested.predictions.softmax(-1), tested.targets, tested.predictions)
            classes = classes._replace(decisions=decisions_of(pl_module, classes.probabilities))
            columns = [[class_names[k] for k in each.tolist()] for each in (classes.targets, classes.decisions)]
            header = ["row", "target", "prediction", *(f"probability_{each}" for each in class_names)]
            write_test_table(trainer, header, [*columns, *classes.probabilities.T.numpy()])
            shown = (classes, class_names, "rows")
            save_plot(trainer, "confusion_matrix", lambda path: draw_confusion(*shown, path, name))
            save_class_plots(trainer, pl_module, *shown)
        elif isinstance(pl_module.hparams["target"], str):
            write_test_table(trainer, ["row", "target", "prediction"], [tested.true, tested.predictions.numpy()])
            self._draw_numbers(trainer, tested, name)
        else:
            names = pl_module.hparams["target"]
            header = ["row", *(f"{kind}_{each}" for kind in ("target", "prediction") for each in names)]
            write_test_table(trainer, header, [*tested.true.T, *tested.predictions.numpy().T])
            for place, each in enumerate(names):
                own = tested._replace(targets=tested.targets[:, place], predictions=tested.predictions[:, place])
                self._draw_numbers(trainer, own, without_formulas(each), f"_{place + 1}")
        save_plot(trainer, "importance", lambda path: self._draw_importance(pl_module, tested, path))

    def _draw_numbers(self, trainer: Trainer, tested: PredictedRows, name: str, suffix: str = "") -> None:
        save_plot(trainer, f"predicted_and_true{suffix}", lambda path: draw_predictions(tested, name, path))
        save_plot(trainer, f"residuals{suffix}", lambda path: draw_residuals(tested, name, path))

    def _draw_importance(self, model: LightningModule, tested: PredictedRows, path: Path) -> None:
        names = [*model.hparams["numbers"], *model.hparams["categories"]]
        chosen = spaced(tested, self.rows)
        begun = time.monotonic()
        importance(model, chosen, 1, columns=1)  # a trial, to measure the time of one pass
        passes = int(self.seconds / (time.monotonic() - begun) * 2)  # a trial is two passes: as is and permuted
        chosen = spaced(chosen, max(MIN_ROWS, len(chosen.targets) * passes // len(names)))
        repeats = min(self.repeats, max(1, passes // len(names)))
        times = "once" if repeats == 1 else f"{repeats} times"
        if (len(chosen.targets), repeats) != (min(self.rows, len(tested.targets)), self.repeats):
            size = f"{len(names):,} columns on {len(chosen.targets):,} test rows, each permuted {times}"
            log.info(f"Importance of {size}, in about {self.seconds:g} s (callbacks.report.seconds)")
        rises = importance(model, chosen, repeats, deadline=begun + 2 * self.seconds)
        if len(rises) < len(names):
            log.warning(f"Importance: {len(rises):,} of {len(names):,} columns were measured in {2 * self.seconds:g} s")
        error = f"root mean squared error of {without_formulas(named(model))}"
        target: Any = model.target
        weighted = "" if getattr(target, "weights", None) is None else "weighted "
        unit = f"{weighted}log loss" if model.hparams["class_names"] else error
        draw_importance(names[: len(rises)], rises, f"{unit} on {len(chosen.targets):,}", path)


def named(model: LightningModule) -> str:
    """Name the target, or the number of targets."""
    target = model.hparams["target"]
    return target if isinstance(target, str) else f"{len(target)} targets, in standard deviations"


def spaced(tested: PredictedRows, count: int) -> PredictedRows:
    """Return at most `count` rows, evenly spaced."""
    size = len(tested.targets)
    chosen = torch.linspace(0, size - 1, min(count, size)).long()
    return PredictedRows(*(part[chosen] for part in tested))


@torch.no_grad()
def importance(
    model: Any, tested: PredictedRows, repeats: int, columns: int | None = None, deadline: float = float("inf")
) -> Tensor:
    """Compute the rise of the error when a column is permuted, for each column and each of `repeats`: (F + C, R).

    The error is the log loss, or the root mean squared error, in standard deviations if there are several targets. Only
    columns measured before `deadline`, in seconds of time.monotonic(), or the first `columns`, are returned. Source:
    Breiman, "Random Forests", 2001, section 10.
    """

    def error(numbers: Tensor, categories: Tensor) -> Tensor:
        parts = zip(numbers.split(4096), categories.split(4096), strict=True)
        predictions = torch.cat([model(*(part.to(model.device) for part in each)) for each in parts])
        loss = model.target.loss(predictions, tested.targets.to(model.device)).cpu()
        if model.hparams["class_names"]:
            return loss
        return loss.sqrt() * (1 if model.target.std.ndim else model.target.std.cpu())

    generator = torch.Generator().manual_seed(0)
    before = error(tested.numbers, tested.categories)
    places = [(inputs, column) for inputs in (0, 1) for column in range(tested[inputs].shape[1])]
    rises: list[Tensor] = []
    for inputs, column in places[:columns]:
        if rises and time.monotonic() > deadline:
            break
        for _ in range(repeats):
            permuted = [tested.numbers, tested.categories]
            permuted[inputs] = permuted[inputs].clone()
            order = torch.randperm(len(tested.targets), generator=generator)
            permuted[inputs][:, column] = permuted[inputs][order, column]
            rises.append(error(*permuted) - before)
    return torch.stack(rises).reshape(-1, repeats)


def blues() -> Any:
    """Return a colour map for counts in which a single row is visible."""
    import matplotlib

    colours = matplotlib.colormaps["Blues"].resampled(256)
    return matplotlib.colors.ListedColormap(colours(torch.linspace(0.3, 1, 256).numpy()))


def fineness(rows: int) -> int:
    """Return the number of hexagons along an axis for so many rows: the fewer, the larger, so that each is seen."""
    return min(60, max(20, round(rows**0.5)))


def add_count_bar(figure: Any, shown: Any, axes: Any) -> None:
    """Add a colour bar of the number of rows, with whole numbers, to hexagons with logarithmic colours."""
    from matplotlib.ticker import LogLocator

    shown.set_clim(1, max(2, shown.get_array().max()))
    ticks = LogLocator(subs=(1, 2, 5))
    figure.colorbar(shown, ax=axes, label="test rows", ticks=ticks, format="{x:,.0f}").minorticks_off()


def without_formulas(name: str) -> str:
    """Escape dollar signs: matplotlib would typeset the text between them as a formula."""
    return name.replace("$", r"\$")


def draw_predictions(tested: PredictedRows, name: str, path: Path) -> None:
    """Draw the density of rows over true and predicted numbers, with the line on which both are equal."""
    from matplotlib.figure import Figure

    true, predicted = tested.true, tested.predictions.numpy()
    middle = float(true.mean())
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    grid = fineness(len(true))
    shown = axes.hexbin(true, predicted, gridsize=grid, bins="log", cmap=blues(), mincnt=1, linewidths=0.1)
    axes.axline((middle, middle), slope=1, color="firebrick", linewidth=1, label="predicted = true")
    add_count_bar(figure, shown, axes)
    r2 = 1 - ((true - predicted) ** 2).mean() / true.var()
    error = f"mean absolute error {abs(true - predicted).mean():,.4g}, R² {r2:.4f}"
    axes.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
    axes.set_title(f"Predicted and true {name}\n{len(true):,} test rows, {error}", fontsize=10)
    axes.legend(frameon=False, loc="upper left")
    save_figure(figure, path)


def draw_residuals(tested: PredictedRows, name: str, path: Path) -> None:
    """Draw residuals (predicted minus true) over predictions, and their histogram, without the largest 1 %."""
    from matplotlib.figure import Figure

    predicted = tested.predictions.numpy()
    residuals = predicted - tested.true
    bound = float(torch.from_numpy(abs(residuals)).quantile(0.99)) or 1.0
    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    inside = abs(residuals) <= bound
    rows, grid = int(inside.sum()), fineness(int(inside.sum()))
    shown = left.hexbin(
        predicted[inside], residuals[inside], gridsize=(grid, grid // 2), bins="log", cmap=blues(), mincnt=1,
        linewidths=0.1,
    )  # fmt: skip
    left.axhline(0, color="firebrick", linewidth=1)
    left.set(xlabel=f"predicted {name}", ylabel=f"residual: predicted - true {name}", ylim=(-bound, bound))
    bins = min(60, math.ceil(2 * rows ** (1 / 3)))  # Rice's rule
    right.hist(residuals[inside], bins=bins, orientation="horizontal", color="steelblue")
    right.axhline(0, color="firebrick", linewidth=1, label="predicted = true")
    right.legend(frameon=False, fontsize=8, loc="upper right")
    right.set(xlabel="test rows")
    add_count_bar(figure, shown, right)
    hidden = len(inside) - rows
    verb = "is" if hidden == 1 else "are"
    beyond = f"{hidden:,} of {len(inside):,} test rows, beyond ±{bound:,.4g}, {verb} not shown"
    figure.suptitle(f"Residuals of {name}\n{beyond}", fontsize=10)
    save_figure(figure, path)


def draw_importance(columns: list[str], rises: Tensor, error: str, path: Path, max_columns: int = 25) -> None:
    """Draw bars of the mean rise (F + C, R) over the repeats, largest on top, with its minimum and maximum."""
    from matplotlib.figure import Figure

    means = rises.mean(1)
    order = means.argsort(descending=True)[:max_columns].flip(0)
    shown = means[order]
    spans = torch.stack([shown - rises[order].amin(1), rises[order].amax(1) - shown])
    figure = Figure(figsize=(7, 1.4 + 0.3 * len(order)), layout="constrained")
    axes = figure.subplots()
    names = [without_formulas(columns[number]) for number in order]
    axes.barh(names, shown.numpy(), xerr=spans.numpy(), color="steelblue", capsize=2)
    axes.axvline(0, color="black", linewidth=0.8)
    count = rises.shape[1]
    repeats = f"mean of {count} permutations, lines from minimum to maximum" if count > 1 else "one permutation"
    axes.margins(x=0.05)
    axes.set(xlabel=f"rise of the {error} test rows with the column permuted")
    axes.set_title(f"Permutation importance of columns\n{repeats}", fontsize=10)
    save_figure(figure, path)
