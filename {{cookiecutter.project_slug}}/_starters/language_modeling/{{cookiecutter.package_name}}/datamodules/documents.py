"""Text files: find those that can be read, and split them into train, validation and test."""

import codecs
import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from ..engine import RefusedError, log
from .splits import split_at_random

MIN_WHOLE_FILES = 10  # with at least this many files, whole files are held out, otherwise parts of each
BLOCK_BYTES = 2**20  # read at a time: a file need not fit into memory
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
        return b"".join(self.blocks())

    def part(self, begin: int, end: int) -> "Document":
        """Return the bytes from `begin` to `end` of this text as a text."""
        return Document(f"{self.name}[{begin}:{end}]", self.path, self.begin + begin, self.begin + end)

    def blocks(self) -> Iterator[bytes]:
        """Yield the text in blocks of bytes."""
        with self.path.open("rb") as file:
            file.seek(self.begin)
            left = self.size
            while left and (block := file.read(min(left, BLOCK_BYTES))):
                left -= len(block)
                yield block

    def chunks(self) -> Iterator[str]:
        """Yield the text in chunks, of whole lines if they are short."""
        decoder, rest = codecs.getincrementaldecoder("utf-8")(), ""
        for block in self.blocks():
            text = rest + decoder.decode(block)
            cut = text.rfind("\n") + 1 or len(text)
            yield text[:cut]
            rest = text[cut:]
        if rest:
            yield rest


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

    def blocks(self) -> Iterator[bytes]:
        yield self.read()

    def chunks(self) -> Iterator[str]:
        yield self.content


def whole_documents(paths: Iterable[Path], root: Path, copies_too: bool = False) -> list[Document]:
    """Select the files that are UTF-8 text, in the order of `paths`, and log the others.

    Empty files are left out and, unless `copies_too`, copies of earlier files, since a copy could be trained on and
    tested.
    """
    documents: list[Document] = []
    unreadable, empty, copies = [], [], []
    seen: dict[str, str] = {}
    for path in paths:
        name = path.relative_to(root).as_posix() if path != root else path.name
        try:
            file = Document(name, path, 0, path.stat().st_size)
            problem = not_text(file.blocks())
            has_bom = next(file.blocks(), b"").startswith(codecs.BOM_UTF8)
            document = file._replace(begin=len(codecs.BOM_UTF8) if has_bom else 0)
            is_empty = not any(block.strip() for block in document.blocks())
            key = digest([document._replace(name="")])
        except OSError as error:
            unreadable.append(f"{path} can't be read ({error.strerror})")
            continue
        if problem:
            unreadable.append(f"{path} {problem}")
        elif is_empty:
            empty.append(name)
        elif (first := seen.setdefault(key, name)) != name and not copies_too:
            copies.append(f"{name} (of {first})")
        else:
            documents.append(document)
    for problem in unreadable[:MAX_NAMED]:
        log.warning(f"Left out: {problem}")
    if len(unreadable) > MAX_NAMED:
        log.warning(f"Left out: {len(unreadable) - MAX_NAMED} more files that are not UTF-8 text")
    for kind, names in (("empty files", empty), ("copies of other files", copies)):
        if names:
            log.warning(f"Left out: {len(names)} {kind}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}")
    return documents


def not_text(blocks: Iterable[bytes]) -> str:
    """Return why the content of a file, in blocks, is not UTF-8 text; empty if it is."""
    decoder, read, has_zeros = codecs.getincrementaldecoder("utf-8")(), 0, False
    for block in chain(blocks, [b""]):
        for encoding, begins in OTHER_BOMS.items():
            if not read and block.startswith(begins):
                why = f"it is {encoding}; iconv -f {encoding} -t UTF-8 converts it"
                return f"can't be read as UTF-8 text ({why})"
        begin = read - len(decoder.getstate()[0])  # of what it decodes: half a character may be left from before
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            why = f"byte {begin + error.start}: {error.reason}; iconv -f <its encoding> -t UTF-8 converts it"
            return f"can't be read as UTF-8 text ({why})"
        read, has_zeros = read + len(block), has_zeros or b"\0" in block
    return "can't be read as text: it holds zero bytes" if has_zeros else ""


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
        size = document.size
        first, second = (1 - val_fraction - test_fraction), (1 - test_fraction)
        slack = min(round(size * min(val_fraction, test_fraction) / 4), BLOCK_BYTES)
        cuts = [0, *(_cut(document, round(size * part), slack) for part in (first, second)), size]
        for name, begin, end in zip(splits, cuts, cuts[1:], strict=False):
            if begin < end:
                splits[name].append(document.part(begin, end))
    return splits


def _cut(document: Document, near: int, slack: int) -> int:
    """Find a cut after a line, a sentence or a word, at most `slack` bytes before `near`; else between characters."""
    low = max(0, near - slack)
    content = document.part(low, near).read()
    for end in CUT_PATTERNS:
        if places := [match.end() for match in re.finditer(end, content)]:
            return low + places[-1]
    for byte in document.part(near, min(near + 3, document.size)).read():  # inside a character of several bytes
        if byte & 0xC0 != 0x80:
            break
        near += 1
    return near


def digest(documents: Iterable[Document | Text]) -> str:
    """Return the SHA-256 of names and texts. Raises RefusedError if a file can no longer be read."""
    sha = hashlib.sha256()
    for document in documents:
        sha.update(f"{document.name}\0{document.size}\0".encode())
        try:
            for block in document.blocks():
                sha.update(block)
        except OSError as error:
            raise RefusedError(f"{document.path} can no longer be read ({error.strerror})") from error
    return sha.hexdigest()


def format_bytes(size: float) -> str:
    """Format a number of bytes."""
    return f"{size / 1e6:,.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
