"""Metrics of a run: metrics.csv, with a row for each step that logged something; metrics.json; learning curves."""

import csv
import math
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from ..errors import RefusedError
from ..logs import log
from ..plain import MAX_TABLE, read_json, read_text
from ..plots import save_figure

MAX_PANELS = 40  # of a plot; matplotlib takes minutes for hundreds
DECADES = 30  # ratio of the largest and the smallest loss from which on its axis is logarithmic


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a metrics.csv as numbers, without empty cells and without a last line that was cut off.

    Raises RefusedError, with the line, if it is not a table of numbers.
    """
    if not path.exists():
        return []
    lines = StringIO(read_text(path, MAX_TABLE))
    table = csv.reader(line for line in lines if line.endswith("\n"))
    rows: list[dict[str, Any]] = []
    try:
        columns = next(table, [])
        for cells in table:
            values = {key: float(cell) for key, cell in zip(columns, cells, strict=True) if cell}
            if "step" in values:
                rows.append({**values, "epoch": int(values.get("epoch", 0)), "step": int(values["step"])})
    except (ValueError, OverflowError, csv.Error) as error:
        raise RefusedError(f"{path.as_posix()}:{table.line_num}: is not a row of metrics: {error}") from error
    return rows


def read_times(path: Path) -> dict[int, float]:
    """Return for each step in a times.csv the seconds trained when its row of metrics.csv began.

    What was trained after the last save of a killed run is not counted. Raises RefusedError like `read_metrics`.
    """
    return {row["step"]: row["seconds"] for row in read_metrics(path) if math.isfinite(row.get("seconds", math.nan))}


def split_metrics(metrics: dict[str, float], split: str) -> dict[str, float]:
    """Return the metrics of one split without its name: `val/loss` becomes `loss`."""
    return {key.removeprefix(split + "/"): value for key, value in metrics.items() if key.startswith(split + "/")}


def headline(metrics: dict[str, float], split: str, counts: tuple[int, int], datamodule: Any) -> str:
    """Format the metrics of a split and its number of samples: `test/loss 0.1234 of 16 of 360 images`.

    Metrics of a part (`f1/cat`) are left to metrics.json. `counts` are those of `count_samples`.
    """
    text = ", ".join(f"{split}/{key} {format_metric(value)}" for key, value in metrics.items() if "/" not in key)
    used, total = counts
    name = getattr(datamodule, "sample_name", "samples")
    return text + (f" of {used:,}" if used < total else "") + (f" of {total:,} {name}" if total else "")


def format_metric(value: float) -> str:
    """Format a metric with four decimals or, if it is nearly zero, four significant digits."""
    return f"{value:.4g}" if 0 < abs(value) < 0.001 else f"{value:.4f}"


def count_samples(trainer: Any, split: str) -> tuple[int, int]:
    """Return how many samples of `train` (per epoch), `val` or `test` were used, and how many there are.

    Zeros if the loader does not say, as for an IterableDataset.
    """
    loaders, counts = {
        "train": (trainer.train_dataloader, trainer.num_training_batches),
        "val": (trainer.val_dataloaders, trainer.num_val_batches),
        "test": (trainer.test_dataloaders, trainer.num_test_batches),
    }[split]
    used = total = 0
    for loader, count in zip(*(each if isinstance(each, list) else [each] for each in (loaders, counts)), strict=False):
        sampler = getattr(loader, "sampler", None)  # a BatchOrder or a sampler of torch
        batch_size = getattr(sampler, "batch_size", None) or getattr(loader, "batch_size", None)
        try:
            size = getattr(sampler, "size", None) or len(loader.dataset)
            used += int(min(size, count * batch_size * trainer.world_size))
            total += size
        except (AttributeError, TypeError):
            return 0, 0
    return used, total


def read_results(path: Path) -> dict[str, dict[str, float]]:
    """Return the metrics of each split in a metrics.json. Raises RefusedError if it holds something else."""
    content = read_json(path)
    splits = content if isinstance(content, dict) else {}
    for split in ("val", "test"):
        values = splits.get(split)
        if not isinstance(values, dict) or not all(map(_is_number, values.values())):
            raise RefusedError(f"{path.as_posix()}: no metrics of the split {split}")
    return splits


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and (isinstance(value, float) or abs(value) < 2**63)


@contextmanager
def new_plot(path: Path, panels: list[str], title: str) -> Iterator[dict[str, Any]]:
    """Yield the axes of a new plot by the names of its panels, then save it. A failure is a warning."""
    from matplotlib.figure import Figure

    if len(panels) > MAX_PANELS:
        log.warning(f"{path.as_posix()} shows the first {MAX_PANELS} of {len(panels):,} metrics")
    panels = panels[:MAX_PANELS]
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(max(5.0, 4.2 * columns), 3.4 * rows + 0.4), layout="constrained")
    figure.suptitle(title)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[len(panels) :]:
        axes.axis("off")
    try:
        yield dict(zip(panels, grid, strict=False))
        path.parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
    except Exception as error:  # names of metrics may be untrusted
        log.warning(f"{path.as_posix()} could not be drawn: {type(error).__name__}: {error}")


def draw_curves(
    rows: list[dict[str, Any]], path: Path, best: dict[str, Any] | None = None, units: dict[str, str] | None = None
) -> None:
    """Plot each metric over optimizer steps, in a panel of its own; `train/loss` and `val/loss` share one.

    The `best` epoch is marked at its step. Metrics of a part, such as one class (`val/f1/cat`), are left out.
    """
    logged = dict.fromkeys(key for row in rows for key in row if key.count("/") == 1 and not key.startswith("test/"))
    panels = list(dict.fromkeys(key.split("/")[1] for key in logged))
    if not panels:
        return
    with new_plot(path, panels, "Learning curves") as plot:
        for panel, axes in plot.items():
            names = [key for key in logged if key.split("/")[1] == panel]
            _draw_panel(axes, panel, {key: [row for row in rows if key in row] for key in names})
            if unit := (units or {}).get(panel):
                axes.set_ylabel(escape_dollars(f"{panel} ({unit})"))
            if best:  # epochs count from 1, as in the console
                label = f"best epoch ({best['epoch'] + 1:,})"
                axes.axvline(best["step"], color="0.4", linewidth=1, linestyle=":", label=label)
            axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)


def _draw_panel(axes: Any, name: str, curves: dict[str, list[dict[str, Any]]]) -> None:
    """Plot a metric of each split from its rows; a loss that spans decades on a logarithmic axis."""
    values: list[float] = []
    for key, rows in curves.items():
        points = [(row["step"], row[key]) for row in rows]
        marker = "o" if len(points) <= 100 else ""
        axes.plot(*zip(*points, strict=True), label=escape_dollars(key), marker=marker, markersize=2.5)
        values += [row[key] for row in rows if math.isfinite(row[key])]
    if "loss" in name and values and max(values) > DECADES * min(values) > 0:
        axes.set_yscale("log")
    axes.set(xlabel="optimizer step", ylabel=escape_dollars(name))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3, which="both")


def escape_dollars(text: str) -> str:
    """Escape dollar signs: matplotlib would typeset the text between them as a formula."""
    return text.replace("$", r"\$")
