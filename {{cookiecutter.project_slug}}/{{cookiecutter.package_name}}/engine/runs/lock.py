"""Lock of a run folder: one process trains in it at a time."""

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import RefusedError
from ..files import now
from ..plain import read_json
from .folder import RunFolder

# filelock and psutil are imported late: most commands need neither.


def is_held(run: RunFolder) -> bool:
    """True if a process that may be alive holds the folder."""
    return run.lock.exists() and _is_alive(_read(run.lock))


def check_unlocked(run: RunFolder) -> None:
    """Raises RefusedError, naming process and host, if another process trains in the folder."""
    if run.lock.exists() and _is_alive(holder := _read(run.lock)):
        raise _refusal(run, holder)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Serialise processes on this host that work on `path`."""
    from filelock import FileLock

    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir()) / f"run-{digest}.lock", mode=0o666):
        yield


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Hold the folder; take over the lock of a dead process of this host. Raises RefusedError if it is held."""
    # Processes of this host take turns; one of another host can only create a lock where there is none.
    with one_at_a_time(run.lock):
        check_unlocked(run)
        run.lock.unlink(missing_ok=True)
        beside = run.path / f"lock.{platform.node()}.{os.getpid()}"
        own = {"pid": os.getpid(), "host": platform.node(), "since": now(), "born": _started(os.getpid())}
        beside.unlink(missing_ok=True)
        try:
            with beside.open("x", encoding="utf-8") as file:
                json.dump(own, file)
            os.link(beside, run.lock)  # atomic, and fails if the file exists
        except FileExistsError:
            raise _refusal(run, _read(run.lock)) from None
        except OSError:  # a file system without hard links
            os.replace(beside, run.lock)
        finally:
            beside.unlink(missing_ok=True)
    try:
        yield
    finally:
        run.lock.unlink(missing_ok=True)


def _is_alive(holder: dict[str, Any]) -> bool:
    """True unless the process is one of this host, and dead; those of other hosts can't be seen."""
    return holder["host"] != platform.node() or abs(_started(holder["pid"]) - holder["born"]) < 3


def _started(pid: int) -> float:
    """Return when a process started, in seconds from the start of the machine; -inf if it is dead.

    Changes of the clock cancel out.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        dead = process.status() == psutil.STATUS_ZOMBIE
        return -float("inf") if dead else process.create_time() - psutil.boot_time()
    except (psutil.Error, ValueError, OverflowError):  # no such process, or an invalid pid
        return -float("inf")


def _read(path: Path) -> dict[str, Any]:
    """Read the lock. One that was cut off, by a kill while it was written, counts as held by a dead process."""
    try:
        holder = read_json(path)
        texts = {key: str(holder[key])[:100] for key in ("host", "since")}
        return {"pid": int(holder["pid"]), "born": float(holder["born"]), **texts}
    except (RefusedError, ValueError, OverflowError, KeyError, TypeError):
        return {"pid": -1, "host": platform.node(), "since": "", "born": 0.0}


def _refusal(run: RunFolder, holder: dict[str, Any]) -> RefusedError:
    here = holder["host"] == platform.node()
    elsewhere = "" if here else f", or, if that process is gone, delete {run.lock.as_posix()}"
    return RefusedError(
        f"name={run.name}: process {holder['pid']} on {holder['host']} has trained in {run.path.as_posix()} since "
        f"{holder['since']}; wait for it, choose another name={elsewhere}"
    )
