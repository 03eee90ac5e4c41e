"""Run folders: their files, their names, and which one a command works in."""

import os
import re
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import RefusedError, refusal
from ..files import unwritable
from ..logs import rank

RUNS = Path("runs")
FOLDERS = ("checkpoints", "exports", "plots", "predictions")
FILE_SUFFIXES = {".csv", ".ckpt", ".json", ".log", ".patch", ".tmp", ".yaml"}
FOLD_PATTERN = re.compile(r"fold_([1-9]\d*)")
NAME_PATTERN = re.compile(r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))[\w-]([\w.-]*[\w-])?", re.IGNORECASE)
RUN_FOLDER_ENV = "RUN_FOLDER_OF_RANK_ZERO"  # tells the processes that rank 0 starts which folder it chose


class RunFolder:
    """Paths within one run. `continued` is true if an earlier process trained in it and did not finish."""

    def __init__(self, path: Path, continued: bool = False) -> None:
        self.path, self.continued = path, continued
        self.config = path / "config.yaml"  # the resolved config
        self.provenance = path / "provenance.json"  # code, data, versions and machine
        self.metrics = path / "metrics.json"  # final metrics; written last, so the file marks a finished run
        self.metrics_csv = path / "metrics.csv"  # metrics of each step that logged something
        self.times = path / "times.csv"  # seconds trained at each row of metrics.csv
        self.folds = path / "folds.json"  # metrics of a set of folds; written last, so the file marks a finished set
        self.status = path / "status.json"  # what the run is doing, or how it ended
        self.trackers = path / "trackers.json"  # ids of the run in MLflow and W&B
        self.log = path / "train.log"  # log of the run
        self.lock = path / "lock.json"  # the process that trains in the folder
        self.seen = path / "seen.npy"  # keys of the samples that were trained on
        self.plots = path / "plots"  # folder of plots
        self.predictions = path / "predictions"  # folder of predictions
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"  # checkpoint of the best epoch by `monitor`
        self.last = self.checkpoints / "last.ckpt"  # checkpoint that a stopped run resumes from
        self.previous = self.checkpoints / "previous.ckpt"  # the last.ckpt before the current one

    @property
    def name(self) -> str:
        """The value of `name=`: a folder of runs/, or one in a set of folds (`cv/fold_1`)."""
        return self.path.relative_to(RUNS).as_posix() if RUNS in self.path.parents else self.path.name

    @property
    def begun(self) -> bool:
        """True if a run has begun in the folder."""
        return self.config.is_file()

    @property
    def finished(self) -> bool:
        """True if the run has been trained and tested."""
        return self.metrics.is_file()

    def checkpoint(self, choice: str) -> Path:
        """Return the file for `checkpoint=`: `best`, `last` or a path. Raises RefusedError if it does not exist."""
        path = {"best": self.best, "last": self.last}.get(choice, Path(choice))
        if not path.is_file():
            names = ", ".join(sorted(file.name for file in self.checkpoints.glob("*.ckpt"))) or "none"
            raise RefusedError(f"checkpoint={choice}: no file {path}; checkpoints of this run: {names}")
        return path


def claim_run_folder(name: str | None, label: str) -> RunFolder:
    """Create the folder of a new run, or find that of an unfinished one.

    `name` has been checked. Without one, rank 0 names the folder by the time and `label`.
    """
    if name is not None:
        path = RUNS / name
    elif rank() == 0:
        path = _new_folder(label)
    elif RUN_FOLDER_ENV in os.environ:
        path = Path(os.environ[RUN_FOLDER_ENV])
    else:
        raise RefusedError("name=null: processes that start on their own need one name in common: name=<run>")
    if rank() == 0:
        path.mkdir(parents=True, exist_ok=True)
        os.environ[RUN_FOLDER_ENV] = str(path)
    return RunFolder(path, continued=RunFolder(path).begun)


def _new_folder(label: str) -> Path:
    """Create a folder named by date, time and `label`, with a number if two runs start within one second."""
    stem, number = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{label}", 1
    while True:
        path = RUNS / (stem if number == 1 else f"{stem}_{number}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1


def remove_if_unbegun(run: RunFolder) -> None:
    """Remove the folder of a run that was refused before it began, and runs/ if that is then empty."""
    if rank() > 0 or run.config.exists() or run.lock.exists():  # another process may have begun in it
        return
    run.log.unlink(missing_ok=True)
    for path in (run.path, *run.path.parents[:-1]):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def is_run_name(name: str) -> bool:
    """True if `name` can be a folder of runs/, or one in a set of folds (`cv/fold_1`), on any system."""
    first, slash, fold = name.partition("/")
    return bool(len(name) <= 200 and NAME_PATTERN.fullmatch(first) and (not slash or FOLD_PATTERN.fullmatch(fold)))


def check_name(name: Any) -> None:
    """Raises RefusedError if the name can't be a folder, a finished run has it, or runs/ can't be written."""
    if isinstance(name, int | float):
        raise RefusedError(f"name={name}: expected text with a letter, such as name=run{name}")
    if name is not None and not is_run_name(str(name)):
        raise RefusedError(f"name={name!r}: a run name is a folder name: letters, digits, '-', '_' and '.'")
    run = RunFolder(RUNS / (name or ""))
    if name and (run.metrics.exists() or run.folds.exists()):
        raise RefusedError(f"name={name}: {run.path} is a finished run and is kept; choose another name=")
    if reason := unwritable(run.path):
        raise refusal("name", name, reason) if name else RefusedError(f"runs/: {reason}")


def check_folder(folder: Path) -> None:
    """Raises RefusedError if a run folder, which may be untrusted, holds anything unsafe to read or write.

    Examples: a link that leads out of it, a FIFO, which blocks, or a folder in place of a file. Links in wandb/ may
    lead out: W&B keeps links to its own logs there, in a new folder each time, and nothing else is written there.
    """
    root = folder.resolve()
    for path in folder.rglob("*") if folder.is_dir() else ():
        name, mode = path.as_posix(), path.lstat().st_mode
        if stat.S_ISLNK(mode):
            if not _leads_into(path, root) and folder / "wandb" not in path.parents:
                raise RefusedError(f"{name} is a link that leads out of the run folder")
        elif stat.S_ISDIR(mode):
            is_file_place = path.parent == folder or (path.parent.parent == folder and path.parent.name in FOLDERS)
            if is_file_place and path.suffix in FILE_SUFFIXES:
                raise RefusedError(f"{name} is a folder; expected a file")
        elif not stat.S_ISREG(mode):
            raise RefusedError(f"{name} is a pipe, a socket or a device; a run folder may hold only files and folders")
        elif path.parent == folder and path.name in FOLDERS:
            raise RefusedError(f"{name} is a file; expected a folder")


def _leads_into(link: Path, root: Path) -> bool:
    try:
        return root in link.resolve().parents
    except (OSError, RuntimeError):  # a link to itself
        return False


def map_text(value: Any, change: Callable[[str], str]) -> Any:
    """Return plain values with `change` applied to each text."""
    if isinstance(value, dict):
        return {key: map_text(part, change) for key, part in value.items()}
    if isinstance(value, list):
        return [map_text(part, change) for part in value]
    return change(value) if isinstance(value, str) else value


def moved(value: Any, old: Path, new: Path) -> Any:
    """Return plain values with every path in the folder `old` moved to the folder `new`."""
    before, after = old.as_posix(), new.as_posix()

    def move(text: str) -> str:
        return after + text.removeprefix(before) if f"{text}/".startswith(f"{before}/") else text

    return map_text(value, move)
