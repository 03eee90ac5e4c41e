"""Summaries of runs, from JSON files that may be damaged or come from elsewhere. No torch."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import RefusedError, printable
from ..plain import read_json
from ..runs.folder import RUNS, RunFolder
from ..runs.folds import folds_of
from ..runs.status import read_status, state_of

MAX_TEXT = 200  # characters of a name
MAX_ERROR = 1000  # characters of a reason


@dataclass(frozen=True)
class Summary:
    """What runs.py shows of a run, or of a set of folds. None or empty: unknown."""

    path: str
    state: str = "damaged"  # training, testing, stopped, killed, failed, finished or damaged
    error: str = ""  # why it failed or is damaged
    model: str = ""
    datamodule: str = ""
    seed: int | None = None
    epoch: int | None = None  # epochs done, of `epochs`
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    monitor: str = ""
    mode: str = ""
    best: float | None = None  # of `monitor`, at `best_epoch`, from 0
    best_epoch: int | None = None
    best_step: int | None = None
    val: dict[str, float] = field(default_factory=dict)  # at the best checkpoint of a finished run
    test: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None  # trained, over all resumes
    started: str = ""  # UTC, ISO 8601
    alive: str = ""  # last sign of life
    folds: int = 0  # in a set of folds
    spread: dict[str, float] = field(default_factory=dict)  # standard deviation over the folds, of `monitor` and test/

    @property
    def name(self) -> str:
        """The value of `name=`."""
        return self.path.removeprefix(f"{RUNS}/")

    def values(self) -> dict[str, Any]:
        """Return all fields and the metrics (`test/accuracy`), for --json, --where and --sort."""
        splits = (("val", self.val), ("test", self.test))
        metrics = {f"{split}/{name}": value for split, found in splits for name, value in found.items()}
        return {"name": self.name, **asdict(self), **metrics}


def summaries(runs: Path = RUNS) -> list[Summary]:
    """Return a summary of each run and set of folds in a folder, the newest first."""
    found = [summary for path in _folders(runs) if (summary := summary_of(path))]
    return sorted(found, key=lambda each: each.started, reverse=True)


def _folders(runs: Path) -> Iterator[Path]:
    try:
        with os.scandir(runs) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
        yield from (runs / name for name in sorted(names))
    except FileNotFoundError:
        return


def summary_of(path: Path) -> Summary | None:
    """Return the summary of a run or a set of folds; None if the folder is neither."""
    run = RunFolder(path)
    try:
        if run.status.exists() or run.begun:
            return _summary_of_run(run)
        folds = folds_of(run)
        return _summary_of_folds(run, [_summary_of_run(fold) for fold in folds]) if folds else None
    except (RefusedError, OSError) as error:
        return Summary(path.as_posix(), error=text(error))


def _summary_of_run(run: RunFolder) -> Summary:
    status = read_status(run)
    best: Any = status.get("best") if isinstance(status.get("best"), dict) else {}
    metrics: Any = read_json(run.metrics) if run.finished else {}
    splits: Any = metrics if isinstance(metrics, dict) else {}
    known: dict[str, Any] = {
        **{name: text(status.get(name) or "") for name in ("model", "datamodule", "monitor", "mode")},
        "error": text(status.get("error") or "", MAX_ERROR),
        **{name: whole(status.get(name)) for name in ("seed", "epoch", "epochs", "step", "steps")},
        **{name: time(status.get(name)) for name in ("started", "alive")},
        "best": number(best.get("value")),
        "best_epoch": whole(best.get("epoch")),
        "best_step": whole(best.get("step")),
        "val": numbers(splits.get("val")),
        "test": numbers(splits.get("test")),
        "seconds": number(status.get("seconds")),
    }
    return Summary(run.path.as_posix(), state_of(run, status), **known)


def _summary_of_folds(run: RunFolder, folds: list[Summary]) -> Summary:
    """Return one line for a set: its progress in folds, and means over the folds once all have finished."""
    first = next((fold for fold in folds if fold.state != "finished"), folds[-1])
    done = sum(fold.state == "finished" for fold in folds)
    times = [fold.seconds for fold in folds if fold.seconds is not None]
    whole_set = replace(
        first,
        path=run.path.as_posix(),
        seed=folds[0].seed,
        epoch=done,
        epochs=None,
        best=None,
        best_epoch=None,
        best_step=None,
        val={},
        test={},
        seconds=sum(times),
        started=min(fold.started for fold in folds),
        alive=max(fold.alive for fold in folds),
        folds=len(folds),
    )
    if not run.folds.is_file():
        return whole_set if first.state != "finished" else replace(whole_set, state="stopped")
    content = read_json(run.folds)
    table = content.get("metrics") if isinstance(content, dict) else None
    table = {name: numbers(each) for name, each in table.items()} if isinstance(table, dict) else {}
    means = {text(name): each["mean"] for name, each in table.items() if "mean" in each}
    return replace(
        whole_set,
        state="finished",
        epochs=len(folds),
        best=means.get(first.monitor),
        test={name.removeprefix("test/"): mean for name, mean in means.items() if name.startswith("test/")},
        spread={text(name): each["std"] for name, each in table.items() if "std" in each},
    )


def text(value: Any, limit: int = MAX_TEXT) -> str:
    """Return untrusted text in one printable line, cut off at `limit` characters."""
    line = " ".join(printable(value).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def number(value: Any) -> float | None:
    """Return an untrusted value if it is a number, else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e300 else None


def whole(value: Any) -> int | None:
    """Return an untrusted value if it is a whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def numbers(values: Any) -> dict[str, float]:
    """Return the numbers in an untrusted dict."""
    pairs = values.items() if isinstance(values, dict) else ()
    return {text(name): found for name, value in pairs if (found := number(value)) is not None}


def time(value: Any) -> str:
    """Return an untrusted value in UTC if it is a time with a zone in ISO 8601, else an empty text."""
    try:
        moment = datetime.fromisoformat(value)  # which takes any character between date and time
        return moment.astimezone(UTC).isoformat(timespec="seconds") if moment.tzinfo else ""
    except (TypeError, ValueError, OverflowError):
        return ""


def age(moment: str) -> str:
    """Return how long ago a time was, in its largest unit: `5 min`; empty if it is unknown."""
    if not moment:
        return ""
    return duration(max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()))


def duration(seconds: float) -> str:
    """Format a duration with its two largest units: `3 h 12 min`."""
    for size, unit, below, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = int(seconds % size // below)
            return f"{int(seconds // size)} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds:.0f} s"
