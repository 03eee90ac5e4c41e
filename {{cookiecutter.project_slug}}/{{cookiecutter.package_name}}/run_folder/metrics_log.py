"""metrics.csv: the log of record of a run, one row a step that logged something."""

import csv
import os
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

FIRST = ["epoch", "step"]


class MetricsLog(Logger):
    """Writes each row at once, so a killed run keeps what it had; a continued run drops the rows it will write again.

    Lightning's CSVLogger deletes the file of the run that is continued. Times are left out: two equal runs write
    equal files.
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

    @rank_zero_only
    def rewind(self, rows: int) -> None:
        """Keep the first `rows`: those that there were when the checkpoint was saved from which the run goes on."""
        self._take(self.rows[:rows])
        self._rewrite()

    @rank_zero_only
    def flush(self) -> None:
        """See to it that what is written outlives a power cut: a checkpoint relies on the rows before it."""
        if self.path.exists():
            with self.path.open("r+b") as file:
                os.fsync(file.fileno())

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Left to config.yaml."""

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
        """Write beside and rename; the place of the last row is kept for the next change of it."""
        beside = self.path.with_name(self.path.name + ".tmp")
        with beside.open("w", encoding="utf-8", newline="") as file:
            writer = self._writer(file)
            writer.writeheader()
            writer.writerows(self.rows[:-1])
            self.last_row_at = file.tell()
            writer.writerows(self.rows[-1:])
        os.replace(beside, self.path)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.csv: numbers, without the empty cells; a line that was not written to its end is none."""
    if not path.exists():
        return []
    lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(lines)]
    return [{**row, "epoch": int(row.get("epoch", 0)), "step": int(row["step"])} for row in rows if "step" in row]


def split_metrics(metrics: dict[str, float], split: str) -> dict[str, float]:
    """The metrics of one split without its name: `val/loss` becomes `loss`."""
    return {key.removeprefix(split + "/"): value for key, value in metrics.items() if key.startswith(split + "/")}


def headline(metrics: dict[str, float], split: str) -> str:
    """The metrics of the whole split in one line; those of a part (`f1/cat`) are left to metrics.json."""
    return ", ".join(f"{split}/{key} {value:.4f}" for key, value in metrics.items() if "/" not in key)
