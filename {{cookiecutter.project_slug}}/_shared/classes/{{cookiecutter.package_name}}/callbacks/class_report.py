"""What the reports of classifiers share: the test split as a table, ROC and precision-recall curves, calibration."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..engine import log, new_file, save_figure, save_plot
from ..models.classes import calibration_error, decide, ranking_scores

MAX_NAMED, MAX_CURVES = 10, 100  # curves with a colour and a name; all curves
BINS = 15  # of probabilities


class Predicted(NamedTuple):
    """The test samples in the order of the split: probabilities (N, K), true classes (N,), decisions (N,).

    With several labels a sample, the latter two are masks (N, K).
    """

    probabilities: Tensor
    targets: Tensor
    decisions: Tensor

    def of_class(self, k: int) -> tuple[Tensor, Tensor]:
        """Return masks (N,) of the samples that are of class k, and of those decided to be."""
        true, decided = ((each[:, k] if each.ndim == 2 else each == k) for each in (self.targets, self.decisions))
        return true, decided


def decisions_of(model: Any, probabilities: Tensor) -> Tensor:
    """Return the decisions (N,) of a model; of one that has no `decision`, the most probable classes."""
    return getattr(model, "decision", decide)(probabilities)


def gathered(trainer: Any, *columns: Sequence[Tensor]) -> list[Tensor] | None:
    """Join the batches of each column, of all processes, which have every `world_size`-th sample. None if none is left.

    Every process has to call it, and only the first gets the samples.
    """
    own = [torch.cat([*batches]) for batches in columns] if columns[0] else None
    parts: list[Any] = [own]
    if trainer.world_size > 1:
        parts = [None] * trainer.world_size
        torch.distributed.all_gather_object(parts, own)
    parts = [part for part in parts if part is not None]
    if not parts or not trainer.is_global_zero:
        return None
    whole = [torch.cat(each) for each in zip(*parts, strict=True)]
    order = torch.cat([torch.arange(len(part[0])) * len(parts) + rank for rank, part in enumerate(parts)]).argsort()
    return [each[order] for each in whole]


# The table


def write_test_table(trainer: Any, header: Sequence[str], columns: Sequence[Sequence[Any] | np.ndarray]) -> None:
    """Write the test split to `predictions/test_split.csv` of the run, or that of an evaluation beside it.

    `columns` are those that follow the ids of the samples; numbers have the digits of their type.
    """
    size, data = len(columns[0]), getattr(trainer, "datamodule", None)
    ids = data.sample_ids("test", torch.arange(size)) if hasattr(data, "sample_ids") else range(size)
    path = table_path(Path(trainer.default_root_dir))
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in zip(ids, *columns, strict=True):
            writer.writerow([written(value) for value in row])
    log.info(f"Test predictions  {path.as_posix()}")


def written(value: Any) -> Any:
    """Return a number as text with all its digits, and anything else as it is."""
    if not isinstance(value, float | np.floating):
        return value
    return f"{value:.9g}" if isinstance(value, np.float32) else f"{value:.15g}"


def table_path(root: Path) -> Path:
    """Return the file for the test of a Trainer that works in `root`, a run or the folder of an evaluation within."""
    runs = [folder for folder in (root, root.parent) if any((folder / name).is_file() for name in RECORDS)]
    if runs and runs[0] != root:
        return root.parent / "predictions" / f"{root.name}.csv"
    return root / "predictions" / "test_split.csv"


RECORDS = ("provenance.json", "folds.json")  # of a run, of a set of folds


# Plots


def save_class_plots(trainer: Any, model: Any, predicted: Predicted, class_names: Sequence[str], samples: str) -> None:
    """Save `roc.png`, `precision_recall.png` and `reliability.png`; of two classes, those of the positive one.

    `samples` is their name in titles. A curve that the split does not define, as it lacks the class, is left out. The
    reliability is only that of samples of one class each.
    """
    positive = getattr(getattr(model, "decision", None), "positive", None)
    truths = {k: predicted.of_class(k)[0] for k in range(len(class_names)) if positive in (None, k)}
    shown = [k for k, true in truths.items() if true.any() and not true.all()]
    if shown:
        curves = (predicted, shown, class_names, samples)
        save_plot(trainer, "roc", lambda path: draw_roc(*curves, path))
        save_plot(trainer, "precision_recall", lambda path: draw_precision_recall(*curves, path))
    if predicted.targets.ndim == 1:
        options = (class_names, positive, samples)
        save_plot(trainer, "reliability", lambda path: draw_reliability(predicted, *options, path))


def draw_confusion(
    predicted: Predicted, class_names: Sequence[str], samples: str, path: Path, target: str = "class"
) -> None:
    """Draw counts and fractions of each true class (rows) against predicted class (columns); `target` is their name."""
    from matplotlib.figure import Figure

    _, targets, decisions = predicted
    size = len(class_names)
    counts = torch.bincount(targets * size + decisions, minlength=size**2).reshape(size, size)
    fractions = counts / counts.sum(1, keepdim=True).clamp(min=1)
    side = max(4.0, min(14.0, 1.5 + 0.45 * size))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(fractions.numpy(), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="fraction of the true class", shrink=0.8)
    if size <= 25:  # more would not be readable
        for row, column in counts.nonzero().tolist():
            colour = "white" if fractions[row, column] > 0.5 else "black"
            text = f"{counts[row, column]}\n{fractions[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    rotation = 90 if max(map(len, class_names)) > 2 else 0
    axes.set_xticks(range(size), class_names, rotation=rotation, parse_math=False)
    axes.set_yticks(range(size), class_names, parse_math=False)
    accuracy = counts.diagonal().sum().item() / max(1, counts.sum().item())
    axes.set(xlabel=f"predicted {target}", ylabel=f"true {target}")
    axes.set_title(f"Confusion matrix: {len(targets):,} test {samples}, accuracy {accuracy:.4f}", fontsize=10)
    save_figure(figure, path)


def draw_roc(predicted: Predicted, shown: list[int], class_names: Sequence[str], samples: str, path: Path) -> None:
    """Draw the true positive rate over the false positive rate, of each class against the rest."""
    from sklearn.metrics import roc_curve

    areas = areas_of(predicted, shown)[0]
    axes = _draw_curves(roc_curve, "ROC", "AUROC", areas, predicted, class_names, samples)
    if len(shown) == 1:
        true, decided = predicted.of_class(shown[0])
        axes.plot(decided[~true].float().mean(), decided[true].float().mean(), "ko", markersize=5, label="decision")
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1, label="chance (0.5)")
    axes.set(xlabel="false positive rate", ylabel="true positive rate (recall)")
    axes.legend(fontsize=8, loc="lower right")
    save_figure(axes.figure, path)


def draw_precision_recall(
    predicted: Predicted, shown: list[int], class_names: Sequence[str], samples: str, path: Path
) -> None:
    """Draw the precision over the recall, of each class against the rest."""
    from sklearn.metrics import precision_recall_curve

    def curve(true: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        precision, recall, _ = precision_recall_curve(true, probability, drop_intermediate=True)
        return recall, precision

    areas, title = areas_of(predicted, shown)[1], "Precision and recall"
    axes = _draw_curves(curve, title, "average precision", areas, predicted, class_names, samples)
    if len(shown) == 1:
        true, decided = predicted.of_class(shown[0])
        if decided.any():
            axes.plot(decided[true].float().mean(), true[decided].float().mean(), "ko", markersize=5, label="decision")
        share = true.float().mean().item()
        axes.axhline(share, color="0.6", linestyle=":", linewidth=1, label=f"chance ({share:.3f})")
    axes.set(xlabel="recall", ylabel="precision")
    axes.legend(fontsize=8, loc="best")
    save_figure(axes.figure, path)


def areas_of(predicted: Predicted, shown: list[int]) -> tuple[dict[int, float], dict[int, float]]:
    """Return AUROC and average precision of each class in `shown`."""
    areas = [ranking_scores(predicted.probabilities[:, k], predicted.of_class(k)[0]).tolist() for k in shown]
    auroc, average_precision = (dict(zip(shown, values, strict=True)) for values in zip(*areas, strict=True))
    return auroc, average_precision


def _draw_curves(
    curve: Any,
    title: str,
    area: str,
    areas: dict[int, float],
    predicted: Predicted,
    class_names: Sequence[str],
    samples: str,
) -> Any:
    """Draw the curves of the classes with the smallest `areas`, the first in colours; return the axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 5.4), layout="constrained")
    axes = figure.subplots()
    smallest = sorted(areas, key=areas.__getitem__)[:MAX_CURVES]
    named = sorted(smallest[:MAX_NAMED])
    for k in [*smallest[MAX_NAMED:], *named]:
        x, y = curve(predicted.of_class(k)[0].numpy(), predicted.probabilities[:, k].numpy())[:2]
        label = f"{class_names[k]} ({areas[k]:.4f})".replace("$", r"\$")
        label = label if not label.startswith("_") else f" {label}"  # matplotlib hides those that start with _
        style: Any = {"label": label, "linewidth": 1.5} if k in named else {"color": "0.85", "linewidth": 0.8}
        axes.plot(x, y, **style)
    mean, several = np.mean([*areas.values()]), len(areas) > 1
    subject = "each class against the rest" if several else class_names[named[0]].replace("$", r"\$")
    most = f"; named: the {MAX_NAMED} smallest of {len(areas)}" if len(areas) > MAX_NAMED else ""
    words = f"{len(predicted.targets):,} test {samples}, {'mean ' if several else ''}{area} {mean:.4f}{most}"
    axes.set_title(f"{title} of {subject}\n{words}", fontsize=10)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.grid(alpha=0.3)
    return axes


def draw_reliability(
    predicted: Predicted, class_names: Sequence[str], positive: int | None, samples: str, path: Path
) -> None:
    """Draw how often what has a probability is true, in bins, and how many samples each bin has.

    The probability is that of the `positive` class or, if there is none, of the predicted class.
    """
    from matplotlib.figure import Figure

    probabilities, targets, _ = predicted
    confidence, most_probable = probabilities.max(1)
    right = most_probable == targets
    subject, event = "the predicted class", "correct"
    if positive is not None:
        confidence, right = probabilities[:, positive], targets == positive
        subject = event = class_names[positive].replace("$", r"\$")
    sizes, mean, fraction = binned(confidence.double().numpy(), right.numpy())
    figure = Figure(figsize=(5.2, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1, label="calibrated")
    limits = abs(wilson(fraction, sizes[sizes > 0]) - fraction)
    label = "bin, with its 95 % interval"
    upper.errorbar(mean, fraction, limits, marker="o", markersize=4, capsize=2, linewidth=1, label=label)
    upper.set(ylabel=f"fraction that is {event}", xlim=(-0.02, 1.02), ylim=(-0.05, 1.05))
    upper.legend(fontsize=8)
    lower.bar((np.arange(BINS) + 0.5) / BINS, sizes, width=0.9 / BINS, color="steelblue")
    if sizes.max() > 50 * sizes[sizes > 0].min():
        lower.set_yscale("log")
        lower.set_ylim(bottom=0.5)
    lower.set(xlabel=f"probability of {subject}", ylabel=f"test {samples}")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    error = calibration_error(probabilities, targets, positive).item()
    size = f"{len(targets):,} test {samples}"
    figure.suptitle(f"Reliability of the probability of {subject}\n{size}, calibration error {error:.4f}", fontsize=10)
    save_figure(figure, path)


def binned(probabilities: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divide `probabilities` (N,) into BINS of equal width.

    Returns the samples in each bin (BINS,) and, for each that has some, the mean probability and the fraction `true`.
    """
    bins = np.clip((probabilities * BINS).astype(int), 0, BINS - 1)
    sizes = np.bincount(bins, minlength=BINS)
    filled = sizes > 0
    mean, fraction = (np.bincount(bins, values, BINS)[filled] / sizes[filled] for values in (probabilities, true))
    return sizes, mean, fraction


def wilson(fraction: np.ndarray, sizes: np.ndarray, z: float = 1.96) -> np.ndarray:
    """Return the limits (2, B) of the 95 % intervals of fractions (B,) of `sizes` samples.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    centre = (fraction + z**2 / (2 * sizes)) / (1 + z**2 / sizes)
    half = z / (1 + z**2 / sizes) * np.sqrt(fraction * (1 - fraction) / sizes + z**2 / (4 * sizes**2))
    return np.stack([centre - half, centre + half])
