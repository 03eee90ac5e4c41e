"""Run folders: their files, their names, and which one a command works in."""

import copy
import os
import re
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ..errors import RefusedError, refusal
from ..files import unwritable
from ..logs import rank
from ..plain import check_plain, yaml_text

FOLDERS = ("checkpoints", "exports", "plots", "predictions")
FILES = {".csv", ".ckpt", ".json", ".log", ".patch", ".tmp", ".yaml"}


def check_folder(folder: Path) -> None:
    """Raises RefusedError if a run folder, which may be untrusted, holds anything unsafe to read or write.

    Examples: a link that leads out of it, a FIFO, which blocks, or a folder in place of a file. Links in wandb/ may
    lead out: W&B keeps links to its own logs there, in a new folder each time, and nothing else is written there.
    """
    root = folder.resolve()
    for path in folder.rglob("*") if folder.is_dir() else ():
        name = path.as_posix()
        if path.is_symlink():
            try:
                within = root in path.resolve().parents
            except (OSError, RuntimeError):  # a link to itself
                within = False
            if not within and folder / "wandb" not in path.parents:
                raise RefusedError(f"{name} is a link that leads out of the run folder")
            continue
        kind = path.lstat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise RefusedError(f"{name} is a pipe, a socket or a device; a run folder holds files and folders alone")
        if (
            stat.S_ISDIR(kind)
            and path.suffix in FILES
            and path.parent in (folder, *(folder / each for each in FOLDERS))
        ):
            raise RefusedError(f"{name} is a folder; expected a file")
        if stat.S_ISREG(kind) and path.parent == folder and path.name in FOLDERS:
            raise RefusedError(f"{name} is a file; expected a folder")


RUNS = Path("runs")
FOLD = re.compile(r"fold_([1-9]\d*)")
# Environment variable that tells the processes started by rank 0 which folder it chose.
CHOSEN = "RUN_FOLDER_OF_RANK_ZERO"


@dataclass(frozen=True)
class RunFolder:
    """Paths within one run. `continued` is true if an earlier process trained in it and did not finish."""

    path: Path
    continued: bool = False

    @property
    def name(self) -> str:
        """The value of `name=`: a folder of runs/, or one in a set of folds (`cv/fold_1`)."""
        return self.path.relative_to(RUNS).as_posix() if RUNS in self.path.parents else self.path.name

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def provenance(self) -> Path:
        """Code, data, versions and machine."""
        return self.path / "provenance.json"

    @property
    def metrics(self) -> Path:
        """Final metrics. Written last, so the file marks a finished run."""
        return self.path / "metrics.json"

    @property
    def log(self) -> Path:
        """Log of the run."""
        return self.path / "train.log"

    @property
    def lock(self) -> Path:
        """The process that trains in the folder."""
        return self.path / "lock.json"

    @property
    def folds(self) -> Path:
        """Metrics of a set of folds. Written last, so the file marks a finished set."""
        return self.path / "folds.json"

    @property
    def seen(self) -> Path:
        """Keys of the samples that were trained on."""
        return self.path / "seen.npy"

    @property
    def plots(self) -> Path:
        """Folder of plots."""
        return self.path / "plots"

    @property
    def predictions(self) -> Path:
        """Folder of predictions."""
        return self.path / "predictions"

    @property
    def best(self) -> Path:
        """Checkpoint of the best epoch by `monitor`."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """Checkpoint that a stopped run resumes from."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def previous(self) -> Path:
        """The last.ckpt before the current one."""
        return self.path / "checkpoints" / "previous.ckpt"

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
            there = ", ".join(sorted(file.name for file in self.best.parent.glob("*.ckpt"))) or "none"
            raise RefusedError(f"checkpoint={choice}: no file {path}; checkpoints of this run: {there}")
        return path


def claim_run_folder(name: str | None, model: str) -> RunFolder:
    """Create the folder of a new run, or find that of an unfinished one. `name` has been checked."""
    if rank() > 0:
        return _folder_of_rank_zero(name)
    folder = _named(name) if name is not None else _dated(model)
    os.environ[CHOSEN] = str(folder.path)
    return folder


def _folder_of_rank_zero(name: str | None) -> RunFolder:
    if name is None and CHOSEN not in os.environ:
        raise RefusedError("name=null: processes that start on their own need one name in common: name=<run>")
    path = Path(os.environ[CHOSEN]) if name is None else RUNS / name
    return RunFolder(path, continued=RunFolder(path).begun)


def _named(name: str) -> RunFolder:
    folder = RunFolder(RUNS / name)
    folder.path.mkdir(parents=True, exist_ok=True)
    return RunFolder(folder.path, continued=folder.begun)


def _dated(model: str) -> RunFolder:
    """Create a folder named by date, time and model, with a number if two runs start within one second."""
    stem = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{model}"
    number = 1
    while True:
        path = RUNS / (stem if number == 1 else f"{stem}_{number}")
        try:
            path.mkdir(parents=True)
            return RunFolder(path)
        except FileExistsError:
            number += 1


def leave_nothing(run: RunFolder) -> None:
    """Remove the folder of a run that was refused before it began, and runs/ if that is then empty."""
    if rank() > 0 or run.config.exists() or run.lock.exists():  # another process may have begun in it
        return
    run.log.unlink(missing_ok=True)
    for path in (run.path, *run.path.parents[:-1]):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def folds_of(run: RunFolder) -> list[RunFolder]:
    """Return the runs of a set of folds, in order; an empty list if `run` is a single run or does not exist."""
    if run.begun:
        return []
    found = {FOLD.fullmatch(path.parent.name): path.parent for path in run.path.glob("*/config.yaml")}
    return [RunFolder(path) for _, path in sorted((int(match[1]), path) for match, path in found.items() if match)]


def open_run(run: str, key: str = "run") -> tuple[RunFolder, DictConfig]:
    """Return the folder and the config of a run. Raises RefusedError, naming the newest run, if `run` is not one."""
    folder = RunFolder(Path(run))
    if folds := folds_of(folder):
        raise RefusedError(f"{key}={run}: is a set of folds; expected one of them: {key}={folds[0].path.as_posix()}")
    if not folder.begun:
        there = sorted((path.parent for path in RUNS.glob("*/config.yaml")), key=os.path.getmtime)
        known = f"; the newest is {key}={there[-1].as_posix()}" if there else "; train one first: python train.py"
        raise RefusedError(f"{key}={run}: no run folder (no {folder.config}){known}")
    check_folder(folder.path)
    try:
        content = yaml.safe_load(yaml_text(folder.config))
    except (ValueError, yaml.YAMLError) as error:
        raise RefusedError(f"{key}={run}: {folder.config} can't be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise RefusedError(f"{key}={run}: {folder.config} is not the config of a run")
    try:
        if len(name := str(content.get("name"))) > 200:  # folder names are shorter
            raise refusal("name", name, f"has {len(name):,} letters")
        check_plain(content := replaced(content, "${name}", name))
        return folder, OmegaConf.create(content)  # with nothing left to resolve
    except (RefusedError, RecursionError, OmegaConfBaseException) as error:
        raise RefusedError(f"{key}={run}: {folder.config}: {' '.join(str(error).split())}") from error


def replaced(value: Any, old: str, new: str) -> Any:
    """Return plain values with `new` in place of the text `old`."""
    if isinstance(value, dict):
        return {key: replaced(part, old, new) for key, part in value.items()}
    if isinstance(value, list):
        return [replaced(part, old, new) for part in value]
    return value.replace(old, new) if isinstance(value, str) else value


def moved(value: Any, old: Path, new: Path) -> Any:
    """Return plain values with every path in the folder `old` moved to the folder `new`."""
    if isinstance(value, dict):
        return {key: moved(part, old, new) for key, part in value.items()}
    if isinstance(value, list):
        return [moved(part, old, new) for part in value]
    if isinstance(value, str) and f"{value}/".startswith(f"{old.as_posix()}/"):
        return new.as_posix() + value.removeprefix(old.as_posix())
    return value


GOOD_NAME = re.compile(r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))[\w-]([\w.-]*[\w-])?", re.IGNORECASE)


def good_name(name: str) -> bool:
    """True if `name` can be a folder of runs/, or one in a set of folds (`cv/fold_1`), on any system."""
    first, slash, fold = name.partition("/")
    return bool(len(name) <= 200 and GOOD_NAME.fullmatch(first) and (not slash or FOLD.fullmatch(fold)))


def check_name(name: Any) -> None:
    """Raises RefusedError if the name can't be a folder, a finished run has it, or runs/ can't be written."""
    if isinstance(name, int | float):
        raise RefusedError(f"name={name}: is no text; put a letter into it, such as name=run{name}")
    if name is not None and not good_name(str(name)):
        raise RefusedError(f"name={name!r}: a run name is a folder name: letters, digits, '-', '_' and '.'")
    path = RUNS / (name or "")
    if name and (RunFolder(path).metrics.exists() or RunFolder(path).folds.exists()):
        raise RefusedError(f"name={name}: {path} is a finished run and is kept; choose another name=")
    if reason := unwritable(path):
        raise refusal("name", name, reason) if name else RefusedError(f"runs/: {reason}")


def config_of_fold(cfg: DictConfig, number: int) -> DictConfig:
    """Return the config of fold `number`, from 1, of `cfg.folds`."""
    fold = copy.deepcopy(cfg)
    with open_dict(fold):
        fold.update({"name": f"{cfg.name}/fold_{number}", "folds": None})
        fold.datamodule.update({"folds": cfg.folds, "fold": number})
    return fold
