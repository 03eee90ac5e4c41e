"""The logger of metrics.csv, which every run has."""

import csv
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from ..errors import RefusedError
from ..files import new_file, write_text
from ..runs.folder import RunFolder
from ..runs.metrics import read_metrics, read_times


class MetricsLog(Logger):
    """Logger of metrics.csv. Writes each row at once, so a killed run keeps its rows.

    A resumed run drops the rows that it will write again; Lightning's CSVLogger deletes the file. Times are written to
    times.csv beside it, so that two equal runs write equal files.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = Path(path)
        self.times = RunFolder(self.path.parent).times
        self.last_row_at = 0
        self._start_clock({})
        self._take(read_metrics(path))

    def _take(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.columns = list(dict.fromkeys(["epoch", "step", *(key for row in rows for key in row)]))

    name = property(lambda self: "metrics")
    version = property(lambda self: "")
    save_dir = property(lambda self: str(self.path.parent))

    def rewind(self, rows: int) -> list[dict[str, Any]]:
        """Keep the first `rows`, those before the checkpoint that the run resumes from, and return them."""
        self._take(self.rows[:rows])
        self._rewrite()
        kept: dict[int, float] = {}
        with suppress(RefusedError):  # damaged times are not worth a refusal: they start anew
            times = read_times(self.times)
            kept = {row["step"]: times[row["step"]] for row in self.rows if row["step"] in times}
        write_text(self.times, "".join(["step,seconds\n", *(f"{step},{seconds}\n" for step, seconds in kept.items())]))
        self._start_clock(kept)
        return self.rows

    def _start_clock(self, times: dict[int, float]) -> None:
        self.clock_start = time.monotonic() - max(times.values(), default=0.0)

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
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append({"epoch": 0, "step": step})
            self.last_row_at = self.path.stat().st_size if self.path.exists() else 0
            with self.times.open("a", encoding="utf-8") as file:
                file.write(f"{step},{time.monotonic() - self.clock_start:.1f}\n")
        row = self.rows[-1]
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
