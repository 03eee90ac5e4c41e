"""One process trains in a run folder at a time."""

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
