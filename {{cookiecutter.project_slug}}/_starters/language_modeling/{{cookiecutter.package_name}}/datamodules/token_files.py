"""Merges and tokens of texts, computed once and kept in the user's cache folder, in files named by content hash.

A file is written under another name and then renamed, so it is complete or absent. If several processes want the same
file, the first writes it and the others wait. Tokens are saved while they are written, so that a killed process loses
those of SAVED_BYTES of text at most.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock

from ..engine import RefusedError, log
from .documents import Document, Text, digest, format_bytes
from .tokenizer import Vocabulary, learn_merges

VERSION = 4  # of the file format, part of the hash
LEARNT_BYTES = 2**26  # of text, evenly spaced, at most: enough to learn a vocabulary from
SAVED_BYTES = 2**22  # text whose tokens are written between two saves
SECONDS = 10.0  # between two lines of the log


class Progress:
    """Logs from time to time how much of `total` bytes of text is tokenised."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.skipped = total, 0, 0
        self.begun = self.logged = time.monotonic()

    def add(self, size: int, skipped: bool = False) -> None:
        self.done += size
        self.skipped += size * skipped
        now = time.monotonic()
        if now - self.logged >= SECONDS and self.done > self.skipped:
            self.logged = now
            left = (now - self.begun) * (self.total - self.done) / (self.done - self.skipped)
            of = f"{format_bytes(self.done)} of {format_bytes(self.total)}"
            log.info(f"Tokenised {of} of text, about {max(left, 0):.0f} s left")


def cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/<package>` or `~/.cache/<package>`. Raises RefusedError if it is not writable."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / __name__.partition(".")[0]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise RefusedError(
            f"{folder}: the cache of tokenised text can't be written to ({error.strerror}); "
            "XDG_CACHE_HOME=<folder> sets another place"
        ) from error
    return folder


def cached(name: str, write: Callable[[BinaryIO], None]) -> Path:
    """Return the path of the file `name` in the cache; `write` makes it if it is missing."""
    path = cache_folder() / name
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            unfinished = path.with_suffix(f".{os.getpid()}")
            try:
                with unfinished.open("wb") as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(unfinished, path)
            finally:
                unfinished.unlink(missing_ok=True)
    return path


def merges_of(documents: Sequence[Document | Text], vocab_size: int) -> list[list[int]]:
    """Learn the merges of a BPE of `vocab_size` tokens from texts, or load those of the same texts from the cache."""
    size = sum(document.size for document in documents)
    step = max(1, -(-size // LEARNT_BYTES)) | 1  # odd: an even one would take the prompts of pairs without the answers

    def write(file: BinaryIO) -> None:
        log.info(f"Learning a vocabulary of {vocab_size:,} tokens from {format_bytes(size / step)} of text")
        chunks = (chunk for document in documents for chunk in document.chunks())
        file.write(json.dumps(learn_merges(islice(chunks, 0, None, step), vocab_size)).encode())

    key = hashlib.sha256(f"{VERSION} {vocab_size} {digest(documents)}".encode()).hexdigest()
    return json.loads(cached(f"{key}.json", write).read_text(encoding="utf-8"))


def tokens_of(documents: Sequence[Document | Text], vocabulary: Vocabulary) -> np.ndarray:
    """Return the tokens (N,) of all texts, mapped from a file, with the end token before, between and after them."""
    kind = np.dtype(np.uint16 if len(vocabulary) <= 2**16 else np.uint32)
    key = hashlib.sha256(f"{VERSION} {vocabulary.merges} {digest(documents)}".encode()).hexdigest()
    path = cache_folder() / f"{key}.tokens"
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            unfinished = path.with_suffix(".part")
            _write_tokens(documents, vocabulary, kind, unfinished)
            os.replace(unfinished, path)
            saves_of(unfinished).unlink(missing_ok=True)
    return np.memmap(path, dtype=kind, mode="r")


def saves_of(path: Path) -> Path:
    """Return the file that says how many pieces of text, and bytes of tokens, `path` holds for certain."""
    return path.with_suffix(".saved")


def _write_tokens(documents: Sequence[Document | Text], vocabulary: Vocabulary, kind: np.dtype, path: Path) -> None:
    """Write the tokens to `path`, after those that an interrupted process has saved."""
    is_begun = path.exists() and saves_of(path).exists()
    if not is_begun:
        saves_of(path).unlink(missing_ok=True)  # it is of another file, which is gone
    saved, size = json.loads(saves_of(path).read_text()) if is_begun else (0, 0)
    progress = Progress(sum(document.size for document in documents))
    with path.open("r+b" if saved else "wb") as file:
        file.truncate(size)
        file.seek(size)
        unsaved = 0
        for number, text in enumerate(_pieces(documents)):
            length = len((text or "").encode())
            progress.add(length, skipped=number < saved)
            if number < saved:
                continue
            tokens = [vocabulary.end] if text is None else vocabulary.encode(text)
            file.write(np.array(tokens, kind).tobytes())
            unsaved += length
            if unsaved >= SAVED_BYTES:
                _save(file, path, number + 1)
                unsaved = 0
        file.flush()
        os.fsync(file.fileno())


def _pieces(documents: Sequence[Document | Text]) -> Iterator[str | None]:
    """Yield the chunks of all texts, with None, for the end token, before, between and after the texts."""
    for document in documents:
        yield None
        yield from document.chunks()
    yield None


def _save(file: BinaryIO, path: Path, pieces: int) -> None:
    file.flush()
    os.fsync(file.fileno())
    unfinished = path.with_suffix(".saving")
    unfinished.write_text(json.dumps([pieces, file.tell()]))
    os.replace(unfinished, saves_of(path))
