"""Whether a name can be a run's folder, and whether a path can be written."""

import os
import re
from pathlib import Path
from typing import Any

from ..errors import RefusedError, refusal
from ..run_folder.folder import FOLD, RUNS, RunFolder

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
    check_writable("name", path)


def check_writable(key: str, path: Path) -> None:
    """Raises RefusedError where `path`, a file or folder that need not be there, can't be written."""
    try:
        there = next(parent for parent in [path.absolute(), *path.absolute().parents] if parent.exists())
    except OSError as error:  # a name that is too long
        raise refusal(key, path, str(error.strerror)) from error
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise refusal(key, path, f"{there} is no folder that can be written to")
