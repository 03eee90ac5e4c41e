"""status.json: what a run is doing, or how it ended. No torch."""

import os
import platform
from typing import Any

from ..errors import RefusedError
from ..plain import read_json
from .folder import RunFolder
from .lock import is_held

WORKING = ("training", "testing")
STATES = (*WORKING, "stopped", "failed", "finished")


def read_status(run: RunFolder) -> dict[str, Any]:
    """Return what status.json says. Raises RefusedError if it can't be read or is not the status of a run."""
    content = read_json(run.status)
    if not isinstance(content, dict) or content.get("state") not in STATES:
        raise RefusedError(f"{run.status.as_posix()} is not the status of a run")
    return content


def state_of(run: RunFolder, status: dict[str, Any]) -> str:
    """Return the state of a run; `killed` if it says that it works, but no process holds its lock."""
    if run.finished:
        return "finished"
    if status["state"] in WORKING and not is_held(run):
        return "killed"
    return status["state"]


def is_own(status: dict[str, Any]) -> bool:
    """True if this process wrote the status."""
    return (status.get("pid"), status.get("host")) == (os.getpid(), platform.node())
