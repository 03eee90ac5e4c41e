"""The learning curves of a run as one picture."""

from pathlib import Path
from typing import Any


def draw_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """A panel for each metric (`train/loss` and `val/loss` share one), over optimizer steps.

    Metrics of a part, such as one class (`val/f1/cat`), are left out.
    """
    from matplotlib.figure import Figure

    logged = dict.fromkeys(key for row in rows for key in row if key.count("/") == 1 and not key.startswith("test/"))
    panels = list(dict.fromkeys(key.split("/")[1] for key in logged))
    if not panels:
        return
    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    for panel, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
        for key in (key for key in logged if key.split("/")[1] == panel):
            points = [(row["step"], row[key]) for row in rows if key in row]
            axes.plot(*zip(*points, strict=True), label=key, marker="o", markersize=2.5)
        axes.set(title=panel, xlabel="step")
        axes.grid(alpha=0.3)
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
