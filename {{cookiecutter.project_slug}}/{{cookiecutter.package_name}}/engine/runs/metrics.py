"""Metrics of a run: metrics.csv, with a row for each step that logged something; metrics.json; learning curves."""

import csv
import math
import os
from io import StringIO
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from ..errors import RefusedError
from ..files import new_file
from ..logs import log
from ..plain import MAX_TABLE, read_json, read_text
from ..plots import save_figure

FIRST = ["epoch", "step"]
DECADES = 30  # ratio of the largest and the smallest loss from which on its axis is logarithmic
MOST_PANELS = 40  # in one plot; matplotlib takes minutes for hundreds


class MetricsLog(Logger):
    """Logger of metrics.csv. Writes each row at once, so a killed run keeps its rows.

    A resumed run drops the rows that it will write again; Lightning's CSVLogger deletes the file. Times are left out,
    so that two equal runs write equal files.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = Path(path)
        self.last_row_at = 0
        self._take(read_metrics(path))

    def _take(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.columns = list(dict.fromkeys([*FIRST, *(key for row in rows for key in row)]))

    name = property(lambda self: "metrics")
    version = property(lambda self: "")
    save_dir = property(lambda self: str(self.path.parent))

    def rewind(self, rows: int) -> list[dict[str, Any]]:
        """Keep the first `rows`, those before the checkpoint that the run resumes from, and return them."""
        self._take(self.rows[:rows])
        self._rewrite()
        return self.rows

    @rank_zero_only
    def flush(self) -> None:
        """Make the rows survive a power cut: a checkpoint relies on those before it."""
        if self.path.exists():
            with self.path.open("r+b") as file:
                os.fsync(file.fileno())

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row: dict[str, Any] | None = self.rows[-1] if self.rows and self.rows[-1]["step"] == step else None
        if row is None:
            row = {"epoch": 0, "step": step}
            self.rows.append(row)
            self.last_row_at = self.path.stat().st_size if self.path.exists() else 0
        row.update({key: int(value) if key == "epoch" else float(value) for key, value in metrics.items()})
        new = [key for key in row if key not in self.columns]
        self.columns += new
        if new or not self.last_row_at:
            self._rewrite()
            return
        with self.path.open("r+", encoding="utf-8", newline="") as file:
            file.seek(self.last_row_at)
            file.truncate()
            self._writer(file).writerow(row)

    def _writer(self, file: Any) -> csv.DictWriter:
        return csv.DictWriter(file, self.columns, lineterminator="\n")

    def _rewrite(self) -> None:
        """Replace the file, and note where its last row begins, which may be rewritten."""
        with new_file(self.path, flush=False) as file:
            writer = self._writer(file)
            writer.writeheader()
            writer.writerows(self.rows[:-1])
            self.last_row_at = file.tell()
            writer.writerows(self.rows[-1:])


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
        raise RefusedError(f"{path.as_posix()}:{table.line_num}: is no row of metrics: {error}") from error
    return rows


def split_metrics(metrics: dict[str, float], split: str) -> dict[str, float]:
    """Return the metrics of one split without its name: `val/loss` becomes `loss`."""
    return {key.removeprefix(split + "/"): value for key, value in metrics.items() if key.startswith(split + "/")}


def headline(metrics: dict[str, float], split: str) -> str:
    """Format the metrics of the whole split in one line; those of a part (`f1/cat`) are left to metrics.json."""
    return ", ".join(f"{split}/{key} {shown(value)}" for key, value in metrics.items() if "/" not in key)


def shown(value: float) -> str:
    """Format a metric with four decimals or, if it is nearly zero, four significant digits."""
    return f"{value:.4g}" if 0 < abs(value) < 0.001 else f"{value:.4f}"


def samples_of(trainer: Any, split: str) -> tuple[int, int]:
    """Return how many samples of `train` (per epoch), `val` or `test` were used, and how many there are.

    Zeros if the loader does not say, as for an IterableDataset.
    """
    loaders, counts = {
        "train": (trainer.train_dataloader, trainer.num_training_batches),
        "val": (trainer.val_dataloaders, trainer.num_val_batches),
        "test": (trainer.test_dataloaders, trainer.num_test_batches),
    }[split]
    taken = size = 0
    for loader, count in zip(*(each if isinstance(each, list) else [each] for each in (loaders, counts)), strict=False):
        sampler = getattr(loader, "sampler", None)  # a BatchOrder or a sampler of torch
        each = getattr(sampler, "batch_size", None) or getattr(loader, "batch_size", None)
        try:
            all_of_it = getattr(sampler, "size", None) or len(loader.dataset)
            taken += int(min(all_of_it, count * each * trainer.world_size))
            size += all_of_it
        except (AttributeError, TypeError):
            return 0, 0
    return taken, size


def of_samples(taken: int, size: int, name: str) -> str:
    """Format how many samples the metrics were measured on, as in "of 16 of 360 images"."""
    return f" of {taken:,} of {size:,} {name}" if taken < size else f" of {size:,} {name}" if size else ""


def draw_curves(rows: list[dict[str, Any]], path: Path, best_step: int | None = None) -> None:
    """Plot each metric over optimizer steps, in a panel of its own; `train/loss` and `val/loss` share one.

    The step of the best checkpoint is marked. Metrics of a part, such as one class (`val/f1/cat`), are left out.
    """
    from matplotlib.figure import Figure

    logged = dict.fromkeys(key for row in rows for key in row if key.count("/") == 1 and not key.startswith("test/"))
    panels = list(dict.fromkeys(key.split("/")[1] for key in logged))
    if not panels:
        return
    if len(panels) > MOST_PANELS:
        log.warning(f"The learning curves show the first {MOST_PANELS} of {len(panels):,} metrics")
    panels = panels[:MOST_PANELS]
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(max(5.0, 4.2 * columns), 3.4 * lines + 0.4), layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in grid[len(panels) :]:
        axes.axis("off")
    for panel, axes in zip(panels, grid, strict=False):
        names = [key for key in logged if key.split("/")[1] == panel]
        _draw_panel(axes, panel, {key: [row for row in rows if key in row] for key in names})
        if best_step is not None:
            axes.axvline(best_step, color="0.4", linewidth=1, linestyle=":", label=f"best epoch (step {best_step:,})")
        axes.legend(fontsize=9)
    figure.suptitle("Learning curves")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path)


def _draw_panel(axes: Any, name: str, curves: dict[str, list[dict[str, Any]]]) -> None:
    """Plot a metric of each split from its rows; a loss that spans decades on a logarithmic axis."""
    values: list[float] = []
    for key, rows in curves.items():
        points = [(row["step"], row[key]) for row in rows]
        marker = "o" if len(points) <= 100 else ""
        axes.plot(*zip(*points, strict=True), label=without_formulas(key), marker=marker, markersize=2.5)
        values += [row[key] for row in rows if math.isfinite(row[key])]
    if "loss" in name and values and max(values) > DECADES * min(values) > 0:
        axes.set_yscale("log")
    axes.set(xlabel="optimizer step", ylabel=without_formulas(name))
    axes.grid(alpha=0.3, which="both")


def read_results(path: Path) -> dict[str, dict[str, float]]:
    """Return the metrics of each split in a metrics.json. Raises RefusedError if it holds something else."""
    found = read_json(path)
    splits = found if isinstance(found, dict) else {}
    for split in ("val", "test"):
        values = splits.get(split)
        if not isinstance(values, dict) or not all(map(_is_number, values.values())):
            raise RefusedError(f"{path.as_posix()}: has no metrics of the split {split}")
    return splits


def without_formulas(name: str) -> str:
    """Escape dollar signs: matplotlib would typeset the text between them as a formula."""
    return name.replace("$", r"\$")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and (isinstance(value, float) or abs(value) < 2**63)
