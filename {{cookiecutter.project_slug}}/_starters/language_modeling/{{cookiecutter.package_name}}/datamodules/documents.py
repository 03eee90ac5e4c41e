"""Text files: which can be read, and which part of them trains, validates and tests."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import RefusedError
from ..run_folder.folder import log
from .base import split_at_random

ENOUGH = 10  # files, from which on each is in one split as a whole
PIECE = 2**20  # characters that are read at once
NAMED = 10  # files left out that are named one by one


class Document(NamedTuple):
    """A text: the bytes from `begin` to `end` of a file."""

    name: str
    path: Path
    begin: int
    end: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.begin)
            return file.read(self.end - self.begin)

    def pieces(self) -> Iterator[str]:
        """The text in pieces of whole lines, so that a long one need not be held as tokens at once."""
        lines, size = [], 0
        for line in self.read().decode().splitlines(keepends=True):
            lines.append(line)
            size += len(line)
            if size >= PIECE:
                yield "".join(lines)
                lines, size = [], 0
        yield "".join(lines)


def whole_documents(paths: Iterable[Path], root: Path) -> list[Document]:
    """The files that are UTF-8 text, in the order of `paths`; the others are named in the log and left out."""
    documents, left_out = [], []
    for path in paths:
        name = path.relative_to(root).as_posix() if path != root else path.name
        try:
            content = path.read_bytes()
            content.decode()
        except (OSError, UnicodeDecodeError) as error:
            left_out.append(f"{path} can't be read as UTF-8 text ({error})")
            continue
        if b"\0" in content:
            left_out.append(f"{path} can't be read as text: it holds zero bytes")
        elif content:
            documents.append(Document(name, path, 0, len(content)))
    for problem in left_out[:NAMED]:
        log.warning(f"Left out: {problem}")
    if len(left_out) > NAMED:
        log.warning(f"Left out: {len(left_out) - NAMED} more files that are no UTF-8 text")
    return documents


def split_documents(
    documents: list[Document], val_fraction: float, test_fraction: float, seed: int
) -> dict[str, list[Document]]:
    """Whole files at random; of fewer than ENOUGH each file is cut: its start trains, its end tests."""
    if len(documents) >= ENOUGH:
        parts = split_at_random(len(documents), val_fraction, test_fraction, seed, what="files")._asdict()
        return {name: [documents[number] for number in sorted(index.tolist())] for name, index in parts.items()}
    splits: dict[str, list[Document]] = {"train": [], "val": [], "test": []}
    for document in documents:
        content = document.read()
        first, second = (1 - val_fraction - test_fraction), (1 - test_fraction)
        cuts = [0, *(_line_end(content, round(len(content) * share)) for share in (first, second)), len(content)]
        for name, begin, end in zip(splits, cuts, cuts[1:], strict=False):
            if begin < end:
                splits[name].append(Document(f"{document.name}[{begin}:{end}]", document.path, begin, end))
    return splits


def _line_end(content: bytes, near: int) -> int:
    """Behind the last line that ends before `near`; in a text of one line, between two letters."""
    if (line := content.rfind(b"\n", 0, near)) >= 0:
        return line + 1
    while near < len(content) and content[near] & 0xC0 == 0x80:  # within a letter of several bytes
        near += 1
    return near


def digest(documents: Iterable[Document]) -> str:
    """SHA-256 of names and texts. Raises RefusedError where a file has been removed meanwhile."""
    sha = hashlib.sha256()
    for document in documents:
        try:
            content = document.read()
        except OSError as error:
            raise RefusedError(f"{document.path} can't be read any more ({error.strerror})") from error
        sha.update(f"{document.name}\0{len(content)}\0".encode())
        sha.update(content)
    return sha.hexdigest()
