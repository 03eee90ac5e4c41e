"""A run is a folder: what it is called, what lies in it, and whether it may be written.

One process at a time trains in it. Its train.log says what the console says, without warnings that a person can do
nothing about.
"""

import hashlib
import json
import logging
import os
import platform
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import RefusedError, printable, refusal
from .plain import check_folder, new_file, read_json, yaml_text

RUNS = Path("runs")
FOLD = re.compile(r"fold_([1-9]\d*)")
# Rank 0 chooses the folder; the processes that it starts find it here.
CHOSEN = "RUN_FOLDER_OF_RANK_ZERO"
RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")


@dataclass(frozen=True)
class RunFolder:
    """Paths within one run. `continued`: an earlier process has trained in it and did not finish."""

    path: Path
    continued: bool = False

    @property
    def name(self) -> str:
        """What `name=` calls it: a folder of runs/, or one in a set of folds (`cv/fold_1`)."""
        return self.path.relative_to(RUNS).as_posix() if RUNS in self.path.parents else self.path.name

    config = property(lambda self: self.path / "config.yaml")
    provenance = property(lambda self: self.path / "provenance.json")
    metrics = property(lambda self: self.path / "metrics.json")
    log = property(lambda self: self.path / "train.log")
    lock = property(lambda self: self.path / "lock.json")
    folds = property(lambda self: self.path / "folds.json")
    seen = property(lambda self: self.path / "seen.npy")
    pictures = property(lambda self: self.path / "pictures")
    predictions = property(lambda self: self.path / "predictions")
    best = property(lambda self: self.path / "checkpoints" / "best.ckpt")
    last = property(lambda self: self.path / "checkpoints" / "last.ckpt")
    previous = property(lambda self: self.path / "checkpoints" / "previous.ckpt")

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


def rank() -> int:
    """Rank of this process, as Lightning, torchrun and SLURM tell it."""
    said = (os.environ.get(key, "") for key in RANKS)
    return max((int(text) for text in said if text.strip().isdecimal()), default=0)


def _folder_of_rank_zero(name: str | None) -> RunFolder:
    if name is None and CHOSEN not in os.environ:
        raise RefusedError("name=null: processes that start on their own need one name in common: name=<run>")
    path = Path(os.environ[CHOSEN]) if name is None else RUNS / name
    return RunFolder(path, continued=(path / "config.yaml").is_file())


def _named(name: str) -> RunFolder:
    folder = RunFolder(RUNS / name)
    folder.path.mkdir(parents=True, exist_ok=True)
    return RunFolder(folder.path, continued=folder.config.is_file())


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
    if run.config.is_file():
        return []
    found = {FOLD.fullmatch(path.parent.name): path.parent for path in run.path.glob("*/config.yaml")}
    return [RunFolder(path) for _, path in sorted((int(match[1]), path) for match, path in found.items() if match)]


def open_run(run: str, key: str = "run") -> tuple[RunFolder, DictConfig]:
    """The folder and the config of a run. Raises RefusedError, naming the newest run, where `run` is none."""
    folder = RunFolder(Path(run))
    if folds := folds_of(folder):
        raise RefusedError(f"{key}={run}: is a set of folds; expected one of them: {key}={folds[0].path.as_posix()}")
    if not folder.config.is_file():
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


PLAIN = (type(None), bool, int, float, str)


def plain_values(value: Any, key: str = "", also: tuple[type, ...] = ()) -> None:
    """Raises RefusedError, with the key, unless `value` holds plain values and lists, tuples and dicts of them alone.

    Of no subclass, with texts and numbers as the keys of a dict, and without text that OmegaConf would interpolate
    (`${…}`), in keys or in values: that could call a resolver. `also` are further types of values.
    """
    waiting, seen = [(key, value)], set()
    while waiting:
        name, part = waiting.pop()
        kind = type(part)
        if kind is str and "${" in part:
            raise refusal(name, part, f"calls a resolver ({part[part.index('${') :][:40]}…); expected values alone")
        if kind in (*PLAIN, *also):
            continue
        if kind not in (dict, list, tuple):
            raise refusal(name, "", f"is a {kind.__name__}; expected plain values: text, numbers, lists, dicts")
        if id(part) in seen:  # behind an alias, or within itself
            continue
        seen.add(id(part))
        for inner in part if kind is dict else ():
            if type(inner) not in (str, int) or "${" in str(inner):
                raise refusal(name, "", f"has the key {inner!r}; expected text without ${{…}}, or a number")
        pairs = part.items() if kind is dict else enumerate(part)
        waiting.extend((f"{name}.{inner}".lstrip("."), each) for inner, each in pairs)


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


def now() -> str:
    """The time, in seconds and UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_json(path: Path, content: Any) -> None:
    """Write whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write whole or not at all."""
    with new_file(path) as file:
        file.write(text)


def overrides() -> list[str]:
    """The overrides of the command line; the front door has put `++` before some."""
    words = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return [str(word).removeprefix("++") for word in words] if isinstance(words, list) else []


def check_unlocked(run: RunFolder) -> None:
    """Raises RefusedError, naming process and host, where another process trains in the folder."""
    if (holder := _holder(run.lock)) is not None:
        raise _refusal(run, holder)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process of this host after the other, with regard to what lies at `path`."""
    from filelock import FileLock

    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir()) / f"run-{digest}.lock", mode=0o666):
        yield


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Hold the folder. A lock that a dead process of this host has left is taken over. Raises RefusedError."""
    import psutil

    # Two processes of this host look at the lock one after the other; those of other hosts only make a new one.
    with alone(run.lock):
        check_unlocked(run)
        run.lock.unlink(missing_ok=True)
        beside = run.path / f"lock.{platform.node()}.{os.getpid()}"
        own = {"pid": os.getpid(), "host": platform.node(), "since": now(), "born": _born(psutil.Process())}
        beside.unlink(missing_ok=True)
        try:
            with beside.open("x", encoding="utf-8") as file:
                json.dump(own, file)
            os.link(beside, run.lock)  # with its content at once, and only where there is none
        except FileExistsError:
            raise _refusal(run, _read(run.lock)) from None
        except OSError:  # a disk without links
            os.replace(beside, run.lock)
        finally:
            beside.unlink(missing_ok=True)
    try:
        yield
    finally:
        run.lock.unlink(missing_ok=True)


def _holder(path: Path) -> dict[str, Any] | None:
    """Who holds the lock; None where nobody does, or its process is dead."""
    if not path.exists():
        return None
    import psutil

    holder = _read(path)
    if holder.get("host") != platform.node():
        return holder
    try:
        process = psutil.Process(holder["pid"])
        alive = abs(_born(process) - holder["born"]) < 3 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError, OverflowError):  # no such process, or no number of one
        alive = False
    return holder if alive else None


def _born(process: Any) -> float:
    """Seconds between the start of the machine and that of the process: no change of the clock changes them."""
    import psutil

    return process.create_time() - psutil.boot_time()


def _read(path: Path) -> dict[str, Any]:
    """What the lock says; the process may have been killed while it wrote it, which leaves this host's dead one."""
    try:
        holder = read_json(path)
        texts = {key: str(holder[key])[:100] for key in ("host", "since")}
        return {"pid": int(holder["pid"]), "born": float(holder["born"]), **texts}
    except (RefusedError, ValueError, OverflowError, KeyError, TypeError):
        return {"pid": -1, "host": platform.node(), "since": "", "born": 0}


def _refusal(run: RunFolder, holder: dict[str, Any]) -> RefusedError:
    here = holder["host"] == platform.node()
    gone = "" if here else f", or, where that process is gone, delete {run.lock.as_posix()}"
    return RefusedError(
        f"name={run.name}: process {holder['pid']} on {holder['host']} has trained in {run.path.as_posix()} since "
        f"{holder['since']}; wait for it, choose another name={gone}"
    )


log = logging.getLogger(__package__)
warned = logging.getLogger("py.warnings")

# Lightning's advice that does not hold here: data in memory needs no workers, and the advertisements.
QUIET = (
    ".*does not have many workers.*",
    ".*is smaller than the logging interval.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*LeafSpec.*is deprecated.*",
    ".*Consider setting `persistent_workers=True`.*",
    ".*srun. command is available.*",
)


class OneLine(logging.Formatter):
    """A record is one line, whatever the names in it hold; see `printable`."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record).rstrip("\n"))


def one_line_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """In place of Python's own two lines, of which the second repeats the source."""
    return printable(f"{filename}:{lineno}: {category.__name__}: {' '.join(str(message).split())}") + "\n"


def start_log(path: Path | None = None) -> None:
    """Show the log on the console, and keep it in `path` as well where one is given."""
    for text in QUIET:
        warnings.filterwarnings("ignore", text)
    for name in (
        "pytorch_lightning.utilities.rank_zero",
        "pytorch_lightning.accelerators.cuda",
        "lightning_fabric.utilities.distributed",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger().setLevel(logging.WARNING)  # matplotlib and others tell of themselves at INFO
    logging.raiseExceptions = False  # a full disk is reported by what fails to save there
    log.setLevel(logging.INFO if rank() == 0 else logging.WARNING)
    log.propagate = False
    end_log_file()
    log.handlers = [logging.StreamHandler(sys.stdout)]
    log.handlers[0].setFormatter(OneLine())
    warnings.formatwarning = one_line_warning
    if path is not None:
        file = logging.FileHandler(path, encoding="utf-8")
        file.setFormatter(OneLine("%(asctime)s %(message)s"))
        log.addHandler(file)
        warned.addHandler(file)
        warned.propagate = False
        logging.captureWarnings(True)


@contextmanager
def quiet(silent: bool) -> Iterator[None]:
    """Within it, where `silent`, the log shows errors alone."""
    level = log.level
    log.setLevel(logging.ERROR if silent else level)
    try:
        yield
    finally:
        log.setLevel(level)


def end_log_file() -> None:
    """Close the file that the log is kept in, if there is one."""
    for logger in (log, warned):
        for handler in [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]:
            handler.close()
            logger.removeHandler(handler)
