"""Write files atomically: whole or not at all."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from .errors import refusal


@contextlib.contextmanager
def new_file(path: Path, flush: bool = True, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` that replaces it on success; on an error it is removed.

    UTF-8 text unless `binary`. The leftover of a killed process is removed first. The file is always newly created, so
    nothing is written through a link or a FIFO in its place.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        opened = temporary.open("xb") if binary else temporary.open("x", encoding="utf-8", newline="")  # x: os.O_EXCL
        with opened as file:
            yield file
            if flush:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def now() -> str:
    """Return the time in UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_json(path: Path, content: Any, flush: bool = True) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n", flush)


def write_text(path: Path, text: str, flush: bool = True) -> None:
    """Write text atomically."""
    with new_file(path, flush) as file:
        file.write(text)


def check_writable(key: str, path: Path) -> None:
    """Raises RefusedError if `path`, a file or folder that need not exist, can't be written."""
    if reason := unwritable(path):
        raise refusal(key, path, reason)


def unwritable(path: Path) -> str | None:
    """Return the reason why `path`, which need not exist, can't be written; None if it can.

    Tries to write: root has permission everywhere, but can't write to /proc or a read-only disk.
    """
    existing = None
    try:
        parents = [path.absolute(), *path.absolute().parents]
        existing = next(parent for parent in parents if parent.exists() or parent.is_symlink())  # also a broken link
        os.rmdir(tempfile.mkdtemp(dir=existing))
    except OSError as error:
        if existing is None:  # the name is too long
            return str(error.strerror)
        detail = f" ({error.strerror})" if existing.is_dir() else ""
        return f"{existing} is not a folder that can be written to{detail}"
    return None
