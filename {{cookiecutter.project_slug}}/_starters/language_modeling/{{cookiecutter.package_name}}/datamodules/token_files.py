"""Merges and tokens of texts, computed once and kept in the user's cache folder, in files named by content hash.

A file is written under another name and then renamed, so it is complete or absent. If several processes want the same
file, the first writes it and the others wait.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock

from ..engine import RefusedError
from .documents import Document, Text, digest
from .tokenizer import Vocabulary, learn_merges

VERSION = 2  # of the file format, part of the hash


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

    def write(file: BinaryIO) -> None:
        texts = (chunk for document in documents for chunk in document.chunks())
        file.write(json.dumps(learn_merges(texts, vocab_size)).encode())

    key = hashlib.sha256(f"{VERSION} {vocab_size} {digest(documents)}".encode()).hexdigest()
    return json.loads(cached(f"{key}.json", write).read_text(encoding="utf-8"))


def tokens_of(documents: Sequence[Document | Text], vocabulary: Vocabulary) -> np.ndarray:
    """Return the tokens (N,) of all texts, mapped from a file, with the end token before, between and after them."""
    kind = np.dtype(np.uint16 if len(vocabulary) <= 2**16 else np.uint32)

    def write(file: BinaryIO) -> None:
        end = np.array([vocabulary.end], kind).tobytes()
        for document in documents:
            file.write(end)
            for chunk in document.chunks():
                file.write(np.array(vocabulary.encode(chunk), kind).tobytes())
        file.write(end)

    key = hashlib.sha256(f"{VERSION} {vocabulary.merges} {digest(documents)}".encode()).hexdigest()
    return np.memmap(cached(f"{key}.tokens", write), dtype=kind, mode="r")
