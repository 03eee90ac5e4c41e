"""What a set of folds leaves beside its runs: one table of their metrics, as JSON, CSV and a picture."""

import csv
import json
import statistics
from io import StringIO
from pathlib import Path
from typing import Any

from .folder import RunFolder, write_json, write_text
from .log import log

Table = dict[str, dict[str, float]]  # of each metric: its value in each fold, their mean and standard deviation


def summarise(folder: RunFolder, runs: list[RunFolder], monitor: str) -> None:
    """Write folds.json, folds.csv and pictures/folds.png, and end with what was reached and what comes next."""
    table = table_of(runs)
    draw_folds(table, len(runs), folder.pictures / "folds.png")
    rows = [*(run.path.name for run in runs), "mean", "std"]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["", *table])
    writer.writerows([row, *(values[row] for values in table.values())] for row in rows)
    write_text(folder.path / "folds.csv", text.getvalue())
    log.info("")
    for metric, values in table.items():
        if metric == monitor or metric.startswith("test/"):
            each = "  ".join(f"{values[run.path.name]:.4f}" for run in runs)
            log.info(f"{metric:<20} {values['mean']:.4f} ± {values['std']:.4f}   {each}")
    write_json(folder.folds, {"folds": len(runs), "metrics": table})
    where = folder.path.as_posix()
    log.info(f"Results  {where}/folds.json, {where}/folds.csv, {where}/pictures/folds.png")
    log.info(f"Next     python evaluate.py run={where}, which takes all folds together, as an ensemble")
    log.info(f"         python predict.py run={where} input=<your files>")


def table_of(runs: list[RunFolder]) -> Table:
    """Validation metrics of the best checkpoint and test metrics; ± is the standard deviation between folds (n - 1).

    Metrics of a part, such as one class (`val/f1/cat`), are left to metrics.json of each run.
    """
    found: dict[str, Any] = {run.path.name: json.loads(run.metrics.read_text(encoding="utf-8")) for run in runs}
    table: Table = {}
    for split in ("val", "test"):
        for name in next(iter(found.values()))[split]:
            values = {fold: float(metrics[split][name]) for fold, metrics in found.items() if name in metrics[split]}
            if "/" not in name and len(values) == len(runs):
                mean, std = statistics.mean(values.values()), statistics.stdev(values.values())
                table[f"{split}/{name}"] = {**values, "mean": mean, "std": std}
    return table


def draw_folds(table: Table, count: int, path: Path) -> None:
    """A panel for each metric: a point for each fold, a line at the mean, a band of one standard deviation."""
    from matplotlib.figure import Figure

    columns = min(4, len(table))
    rows = -(-len(table) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.6 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[len(table) :]:
        axes.axis("off")
    for axes, (metric, values) in zip(panels, table.items(), strict=False):
        mean, std = values["mean"], values["std"]
        axes.axhspan(mean - std, mean + std, color="tab:blue", alpha=0.15, linewidth=0)
        axes.axhline(mean, color="tab:blue", linewidth=1)
        axes.plot(range(1, count + 1), [values[f"fold_{fold}"] for fold in range(1, count + 1)], "o", color="tab:blue")
        axes.set(title=f"{metric}: {mean:.4g} ± {std:.2g}", xlabel="fold", xticks=range(1, count + 1))
        axes.title.set_fontsize(9)
        axes.grid(axis="y", alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
