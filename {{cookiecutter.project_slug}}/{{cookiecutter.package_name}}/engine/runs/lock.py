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


def check_unlocked(run: RunFolder) -> None:
    """Raises RefusedError, naming process and host, if another process trains in the folder."""
    if (holder := holder_of(run.lock)) is not None:
        raise _refusal(run, holder)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Serialise processes on this host that work on `path`."""
    from filelock import FileLock

    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir()) / f"run-{digest}.lock", mode=0o666):
        yield


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Hold the folder; take over the lock of a dead process of this host. Raises RefusedError if it is held."""
    import psutil

    # Processes of this host take turns; one of another host can only create a lock where there is none.
    with alone(run.lock):
        check_unlocked(run)
        run.lock.unlink(missing_ok=True)
        beside = run.path / f"lock.{platform.node()}.{os.getpid()}"
        own = {"pid": os.getpid(), "host": platform.node(), "since": now(), "born": _born(psutil.Process())}
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


def holder_of(path: Path) -> dict[str, Any] | None:
    """Return the holder of the lock, or None if there is none or its process, on this host, is dead."""
    if not path.exists():
        return None
    import psutil

    holder = _read(path)
    if holder.get("host") != platform.node():
        return holder
    try:
        process = psutil.Process(holder["pid"])
        alive = abs(_born(process) - holder["born"]) < 3 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError, OverflowError):  # no such process, or an invalid pid
        alive = False
    return holder if alive else None


def _born(process: Any) -> float:
    """Return the seconds from the start of the machine to that of the process; changes of the clock cancel out."""
    import psutil

    return process.create_time() - psutil.boot_time()


def _read(path: Path) -> dict[str, Any]:
    """Read the lock. One that was cut off, by a kill while it was written, counts as held by a dead process."""
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
