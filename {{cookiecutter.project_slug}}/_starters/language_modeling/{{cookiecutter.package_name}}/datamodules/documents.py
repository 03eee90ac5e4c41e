"""Text files: find those that can be read, and split them into train, validation and test."""

import codecs
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..engine import RefusedError, log
from .splits import split_at_random

MIN_WHOLE_FILES = 10  # with at least this many files, whole files are held out, otherwise parts of each
CHUNK_CHARACTERS = 2**20
MAX_NAMED = 10  # unreadable files named in the log
# Where to cut a text, best first: after a line, a sentence or a word. The patterns match bytes; a character of several
# bytes is an alternative, since a set would match its single bytes.
CUT_PATTERNS = (rb"\n", r"""(?:[.!?]|…)(?:["')\]]|”|’|»)*\s+|。|！|？""".encode(), rb"\s")
# Byte order marks of other encodings. UTF-32 comes first, because its marks begin like those of UTF-16.
OTHER_BOMS = {
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}


class Document(NamedTuple):
    """A text: the bytes from `begin` to `end` of a file."""

    name: str
    path: Path
    begin: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.begin

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.begin)
            return file.read(self.end - self.begin)

    def chunks(self) -> Iterator[str]:
        """Yield the text in chunks, of whole lines if they are short, so that its tokens need not fit into memory."""
        lines, size = [], 0
        for line in self.read().decode().splitlines(keepends=True):
            for start in range(0, len(line), CHUNK_CHARACTERS):
                lines.append(line[start : start + CHUNK_CHARACTERS])
                size += len(lines[-1])
                if size >= CHUNK_CHARACTERS:
                    yield "".join(lines)
                    lines, size = [], 0
        yield "".join(lines)


class Text(NamedTuple):
    """A text in memory, such as a cell of a table; `path` is the file that it comes from."""

    name: str
    path: Path
    content: str

    @property
    def size(self) -> int:
        return len(self.read())

    def read(self) -> bytes:
        return self.content.encode()

    def chunks(self) -> Iterator[str]:
        yield self.content


def whole_documents(paths: Iterable[Path], root: Path, copies_too: bool = False) -> list[Document]:
    """Select the files that are UTF-8 text, in the order of `paths`, and log the others.

    Empty files are left out and, unless `copies_too`, copies of earlier files, since a copy could be trained on and
    tested.
    """
    documents: list[Document] = []
    unreadable, empty, copies = [], [], []
    seen: dict[bytes, str] = {}
    for path in paths:
        name = path.relative_to(root).as_posix() if path != root else path.name
        try:
            content = path.read_bytes()
            problem = not_text(content)
        except OSError as error:
            content, problem = b"", f"can't be read ({error.strerror})"
        begin = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
        if problem:
            unreadable.append(f"{path} {problem}")
        elif not content[begin:].strip():
            empty.append(name)
        elif (first := seen.setdefault(hashlib.sha256(content[begin:]).digest(), name)) != name and not copies_too:
            copies.append(f"{name} (of {first})")
        else:
            documents.append(Document(name, path, begin, len(content)))
    for problem in unreadable[:MAX_NAMED]:
        log.warning(f"Left out: {problem}")
    if len(unreadable) > MAX_NAMED:
        log.warning(f"Left out: {len(unreadable) - MAX_NAMED} more files that are not UTF-8 text")
    for kind, names in (("empty files", empty), ("copies of other files", copies)):
        if names:
            log.warning(f"Left out: {len(names)} {kind}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}")
    return documents


def not_text(content: bytes) -> str:
    """Return why the content of a file is not UTF-8 text; empty if it is."""
    for encoding, begins in OTHER_BOMS.items():
        if content.startswith(begins):
            why = f"it is {encoding}; iconv -f {encoding} -t UTF-8 converts it"
            return f"can't be read as UTF-8 text ({why})"
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return f"can't be read as UTF-8 text ({error}; iconv -f <its encoding> -t UTF-8 converts it)"
    return "can't be read as text: it holds zero bytes" if b"\0" in content else ""


def split_documents(
    documents: list[Document], val_fraction: float, test_fraction: float, seed: int
) -> dict[str, list[Document]]:
    """Divide whole files at random. With fewer than MIN_WHOLE_FILES, cut each file: its start trains, its end tests."""
    if len(documents) >= MIN_WHOLE_FILES:
        parts = split_at_random(len(documents), val_fraction, test_fraction, seed, sample_name="files")._asdict()
        chosen = {name: [documents[number] for number in sorted(index.tolist())] for name, index in parts.items()}
        size, trained = (sum(each.size for each in part) for part in (documents, chosen["train"]))
        if trained < 0.5 * (1 - val_fraction - test_fraction) * size:
            why = "a large file is held out; another datamodule.split_seed holds out others"
            log.warning(f"Training gets {trained / size:.1%} of the text of {len(documents)} files: {why}")
        return chosen
    splits: dict[str, list[Document]] = {"train": [], "val": [], "test": []}
    for document in documents:
        content = document.read()
        first, second = (1 - val_fraction - test_fraction), (1 - test_fraction)
        slack = round(len(content) * min(val_fraction, test_fraction) / 4)
        cuts = [0, *(_cut(content, round(len(content) * part), slack) for part in (first, second)), len(content)]
        for name, begin, end in zip(splits, cuts, cuts[1:], strict=False):
            if begin < end:
                part_name, offset = f"{document.name}[{begin}:{end}]", document.begin
                splits[name].append(Document(part_name, document.path, offset + begin, offset + end))
    return splits


def _cut(content: bytes, near: int, slack: int) -> int:
    """Find a cut after a line, a sentence or a word, at most `slack` bytes before `near`; else between characters."""
    low = max(0, near - slack)
    for end in CUT_PATTERNS:
        if places := [match.end() for match in re.finditer(end, content[low:near])]:
            return low + places[-1]
    while near < len(content) and content[near] & 0xC0 == 0x80:  # inside a character of several bytes
        near += 1
    return near


def digest(documents: Iterable[Document | Text]) -> str:
    """Return the SHA-256 of names and texts. Raises RefusedError if a file can no longer be read."""
    sha = hashlib.sha256()
    for document in documents:
        try:
            content = document.read()
        except OSError as error:
            raise RefusedError(f"{document.path} can no longer be read ({error.strerror})") from error
        sha.update(f"{document.name}\0{len(content)}\0".encode())
        sha.update(content)
    return sha.hexdigest()
