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
from ..plain import plain_values, yaml_text

FOLDERS = ("checkpoints", "exports", "plots", "predictions")
FILES = {".csv", ".ckpt", ".json", ".log", ".patch", ".tmp", ".yaml"}


def check_folder(folder: Path) -> None:
    """Raises RefusedError where what lies in a run folder, which may be a stranger's, could not be read or written.

    Such as a link that leads out of it, a FIFO, which waits for ever, or a folder in place of a file. W&B keeps links
    to logs of its own in wandb/, where nothing else is written, and that in a new folder each time.
    """
    root = folder.resolve()
    for path in folder.rglob("*") if folder.is_dir() else ():
        name = path.as_posix()
        if path.is_symlink():
            try:
                within = root in path.resolve().parents
            except (OSError, RuntimeError):  # it leads to itself
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
# Rank 0 chooses the folder; the processes that it starts find it here.
CHOSEN = "RUN_FOLDER_OF_RANK_ZERO"


@dataclass(frozen=True)
class RunFolder:
    """Paths within one run. `continued`: an earlier process has trained in it and did not finish."""

    path: Path
    continued: bool = False

    @property
    def name(self) -> str:
        """What `name=` calls it: a folder of runs/, or one in a set of folds (`cv/fold_1`)."""
        return self.path.relative_to(RUNS).as_posix() if RUNS in self.path.parents else self.path.name

    @property
    def config(self) -> Path:
        """The config, resolved."""
        return self.path / "config.yaml"

    @property
    def provenance(self) -> Path:
        """Code, data, versions and machine."""
        return self.path / "provenance.json"

    @property
    def metrics(self) -> Path:
        """Written last: it says that the run has finished."""
        return self.path / "metrics.json"

    @property
    def log(self) -> Path:
        """What the run has logged."""
        return self.path / "train.log"

    @property
    def lock(self) -> Path:
        """Which process trains in the folder."""
        return self.path / "lock.json"

    @property
    def folds(self) -> Path:
        """The table of a set of folds, which says that it has finished."""
        return self.path / "folds.json"

    @property
    def seen(self) -> Path:
        """Keys of the samples that were trained on."""
        return self.path / "seen.npy"

    @property
    def plots(self) -> Path:
        """A folder."""
        return self.path / "plots"

    @property
    def predictions(self) -> Path:
        """A folder."""
        return self.path / "predictions"

    @property
    def best(self) -> Path:
        """The best epoch by `monitor`."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """What a stopped run resumes from."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def previous(self) -> Path:
        """The last.ckpt before it."""
        return self.path / "checkpoints" / "previous.ckpt"

    @property
    def begun(self) -> bool:
        """Whether a run has begun in the folder."""
        return self.config.is_file()

    @property
    def finished(self) -> bool:
        """Whether the run has been trained and tested."""
        return self.metrics.is_file()

    def checkpoint(self, choice: str) -> Path:
        """The file that `checkpoint=` means: `best`, `last`, or a path. Raises RefusedError where it is not there."""
        path = {"best": self.best, "last": self.last}.get(choice, Path(choice))
        if not path.is_file():
            there = ", ".join(sorted(file.name for file in self.best.parent.glob("*.ckpt"))) or "none"
            raise RefusedError(f"checkpoint={choice}: no file {path}; checkpoints of this run: {there}")
        return path


def claim_run_folder(name: str | None, model: str) -> RunFolder:
    """Make the folder of a new run, or find that of an unfinished one. The name has been checked."""
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
    """A name of date, time and model; a number is added where two runs start within one second."""
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
    """Remove the folder of a run that was refused before it began, and runs/ if it was the first."""
    if rank() > 0 or run.config.exists() or run.lock.exists():  # another process may have begun in it
        return
    run.log.unlink(missing_ok=True)
    for path in (run.path, *run.path.parents[:-1]):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def folds_of(run: RunFolder) -> list[RunFolder]:
    """The runs of a set of folds, in their order; none where `run` is a run of its own, or nothing."""
    if run.begun:
        return []
    found = {FOLD.fullmatch(path.parent.name): path.parent for path in run.path.glob("*/config.yaml")}
    return [RunFolder(path) for _, path in sorted((int(match[1]), path) for match, path in found.items() if match)]


def open_run(run: str, key: str = "run") -> tuple[RunFolder, DictConfig]:
    """The folder and the config of a run. Raises RefusedError, naming the newest run, where `run` is none."""
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
        if len(name := str(content.get("name"))) > 200:  # a name that can be a folder's is shorter
            raise refusal("name", name, f"has {len(name):,} letters")
        plain_values(content := replaced(content, "${name}", name))
        return folder, OmegaConf.create(content)  # of which nothing is left to resolve
    except (RefusedError, RecursionError, OmegaConfBaseException) as error:
        raise RefusedError(f"{key}={run}: {folder.config}: {' '.join(str(error).split())}") from error


def replaced(value: Any, old: str, new: str) -> Any:
    """Plain values with `new` in place of the text `old`."""
    if isinstance(value, dict):
        return {key: replaced(part, old, new) for key, part in value.items()}
    if isinstance(value, list):
        return [replaced(part, old, new) for part in value]
    return value.replace(old, new) if isinstance(value, str) else value


def moved(value: Any, old: Path, new: Path) -> Any:
    """Plain values with the folder `new` in each path that leads into the folder `old`."""
    if isinstance(value, dict):
        return {key: moved(part, old, new) for key, part in value.items()}
    if isinstance(value, list):
        return [moved(part, old, new) for part in value]
    if isinstance(value, str) and f"{value}/".startswith(f"{old.as_posix()}/"):
        return new.as_posix() + value.removeprefix(old.as_posix())
    return value


GOOD_NAME = re.compile(r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))[\w-]([\w.-]*[\w-])?", re.IGNORECASE)


def good_name(name: str) -> bool:
    """Whether it can be a folder of runs/, or one in a set of folds (`cv/fold_1`), on any system."""
    first, slash, fold = name.partition("/")
    return bool(len(name) <= 200 and GOOD_NAME.fullmatch(first) and (not slash or FOLD.fullmatch(fold)))


def check_name(name: Any) -> None:
    """Raises RefusedError where the name can't be a folder, a finished run has it, or runs/ can't be written."""
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
    """The config of one run of a set of `cfg.folds`, numbered from 1."""
    fold = copy.deepcopy(cfg)
    with open_dict(fold):
        fold.update({"name": f"{cfg.name}/fold_{number}", "folds": None})
        fold.datamodule.update({"folds": cfg.folds, "fold": number})
    return fold
