"""Write files whole or not at all."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from .errors import refusal


@contextlib.contextmanager
def new_file(path: Path, flush: bool = True, binary: bool = False) -> Iterator[IO[Any]]:
    """A file that is written beside `path`, and takes its place once it is whole; else nothing is left.

    It is UTF-8 text unless it is `binary`. A leftover of a killed process is removed. The file is made anew: what is
    written never goes through a link or a FIFO that lies in its place.
    """
    beside = path.with_name(f"{path.name}.tmp")
    beside.unlink(missing_ok=True)
    try:
        opened = beside.open("xb") if binary else beside.open("x", encoding="utf-8", newline="")  # x: os.O_EXCL
        with opened as file:
            yield file
            if flush:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


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


def check_writable(key: str, path: Path) -> None:
    """Raises RefusedError where `path`, a file or folder that need not be there, can't be written."""
    if reason := unwritable(path):
        raise refusal(key, path, reason)


def unwritable(path: Path) -> str | None:
    """Why `path`, a file or folder that need not be there, can't be written; None where it can.

    It is tried: root may write anywhere by its rights, and still not in /proc or on a disk that is read-only.
    """
    try:
        parents = [path.absolute(), *path.absolute().parents]
        there = next(parent for parent in parents if parent.exists() or parent.is_symlink())  # also one to nowhere
    except OSError as error:  # a name that is too long
        return str(error.strerror)
    try:
        os.rmdir(tempfile.mkdtemp(dir=there))
    except OSError as error:
        return f"{there} is no folder that can be written to" + (f" ({error.strerror})" if there.is_dir() else "")
    return None
