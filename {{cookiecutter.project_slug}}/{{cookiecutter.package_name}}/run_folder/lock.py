"""One process at a time trains in a run folder."""

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
from .folder import RunFolder, now


def check_unlocked(run: RunFolder) -> None:
    """Raises RefusedError, naming process and host, where another process trains in the folder."""
    if (holder := _holder(run.lock)) is not None:
        raise _refusal(run, holder)


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Hold the folder. A lock that a dead process of this host has left is taken over. Raises RefusedError."""
    import psutil
    from filelock import FileLock

    # Two processes of this host look at the lock one after the other; those of other hosts only make a new one.
    digest = hashlib.sha256(str(run.lock.resolve()).encode()).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir()) / f"run-{digest}.lock", mode=0o666):
        check_unlocked(run)
        run.lock.unlink(missing_ok=True)
        beside = run.path / f"lock.{platform.node()}.{os.getpid()}"
        own = {"pid": os.getpid(), "host": platform.node(), "since": now(), "born": _born(psutil.Process())}
        beside.write_text(json.dumps(own), encoding="utf-8")
        try:
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
    except (psutil.Error, ValueError):  # no such process, or no number of one
        alive = False
    return holder if alive else None


def _born(process: Any) -> float:
    """Seconds between the start of the machine and that of the process: no change of the clock changes them."""
    import psutil

    return process.create_time() - psutil.boot_time()


def _read(path: Path) -> dict[str, Any]:
    """What the lock says; the process may have been killed while it wrote it, which leaves this host's dead one."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return {"pid": int(holder["pid"]), "host": holder["host"], "since": holder["since"], "born": holder["born"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {"pid": -1, "host": platform.node(), "since": "", "born": 0}


def _refusal(run: RunFolder, holder: dict[str, Any]) -> RefusedError:
    here = holder["host"] == platform.node()
    gone = "" if here else f", or, where that process is gone, delete {run.lock.as_posix()}"
    return RefusedError(
        f"name={run.name}: process {holder['pid']} on {holder['host']} has trained in {run.path.as_posix()} since "
        f"{holder['since']}; wait for it, choose another name={gone}"
    )
