"""The error that ends a command before work: one line for the user, exit status 2."""

import difflib
import re
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()
# Modules whose pip package has another name.
PIP_NAMES = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}


class RefusedError(Exception):
    """Says in one line what was given, what was expected, and what to do; `key` is that of the config, if it is one."""

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


def refusal(key: str, value: Any, why: str, known: Iterable[str] = (), wanted: str | None = None) -> RefusedError:
    """One line: the key, what was given, what was expected, and the nearest name of `known` to `wanted` (the key)."""
    text = {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))
    text = text if len(text) <= 100 else f"{text[:99]}…"
    near = difflib.get_close_matches(key if wanted is None else wanted, list(known), 2)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    given = f"{key}={text}" if text else key
    return RefusedError(" ".join(f"{given}: {why}{meant}".split()), key=key)


def pip_command(error: ModuleNotFoundError) -> str:
    """The command that installs what is missing; Lightning's own errors name it in backquotes or in their text."""
    words = re.findall(r"\b(?:wandb|mlflow|tensorboard|psutil)\b", str(error))
    name = words[0] if words else (error.name or str(error)).partition(".")[0]
    return f"pip install -c constraints.txt {PIP_NAMES.get(name, name)}"


def is_own(path: Path) -> bool:
    """Whether a source file is of this project: neither of Python's library nor of an installed package."""
    library = "site-packages" in path.parts or STANDARD_LIBRARY in path.parents
    return PACKAGE_FOLDER in path.parents or (path.is_file() and not library)


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The calls in this project's code that led to `error`."""
    return [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(Path(frame.filename).resolve())]
