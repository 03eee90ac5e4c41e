"""Large texts: read in blocks, and tokenised with progress, so that a killed process loses little."""

import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from {{ cookiecutter.package_name }}.datamodules import documents, token_files
from {{ cookiecutter.package_name }}.datamodules.documents import Document, Text, not_text, whole_documents
from {{ cookiecutter.package_name }}.datamodules.library import LibraryDataModule
from {{ cookiecutter.package_name }}.datamodules.token_files import merges_of, tokens_of
from {{ cookiecutter.package_name }}.datamodules.tokenizer import Vocabulary

# Tokenises a text, and is killed while it encodes a piece, or with 0 not at all; prints the number of pieces encoded.
WORK = """
import os, signal, sys
from pathlib import Path
from {{ cookiecutter.package_name }}.datamodules import documents, token_files
from {{ cookiecutter.package_name }}.datamodules.tokenizer import Vocabulary

documents.BLOCK_BYTES, token_files.SAVED_BYTES = 2**16, 2**17
text, killed_at, encoded = Path(sys.argv[1]), int(sys.argv[2]), 0

class Killed(Vocabulary):
    def encode(self, piece):
        global encoded
        encoded += 1
        if encoded == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(piece)

size = text.stat().st_size
parts = [documents.Document("first", text, 0, size // 3), documents.Document("second", text, size // 3, size)]
token_files.tokens_of(parts, Killed([[32, 32], [256, 256]]))
print(encoded)
"""


def write_source(path: Path) -> Path:
    """A text of 2 MB: the first files of the standard library, without characters of several bytes."""
    sources = LibraryDataModule().load_documents()
    path.write_bytes(b"".join(each.read() for each in sources)[:2_000_000].decode().encode("ascii", "replace"))
    return path


def work(text: Path, killed_at: int) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", WORK, str(text), str(killed_at)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)


def test_a_killed_process_loses_little_and_the_tokens_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = write_source(tmp_path / "book.txt")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "whole"))
    whole = work(text, 0)
    assert whole.returncode == 0, whole.stderr
    total, lost = int(whole.stdout), 0
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "killed"))
    for killed_at in (9, 1, 6):
        assert work(text, killed_at).returncode == -signal.SIGKILL
        lost += killed_at
    rest = work(text, 0)
    assert rest.returncode == 0, rest.stderr
    assert total > 30
    assert total - 13 <= int(rest.stdout) <= total - 8  # of 8, 0 and 5 pieces, those since the last save are lost
    files = [next((tmp_path / cache).rglob("*.tokens")) for cache in ("whole", "killed")]
    assert files[0].name == files[1].name
    assert files[0].read_bytes() == files[1].read_bytes()
    assert {path.suffix for path in files[1].parent.iterdir()} == {".tokens", ".lock"}


def test_a_save_without_its_tokens_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = write_source(tmp_path / "book.txt")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert work(text, 0).returncode == 0
    tokens = next(tmp_path.rglob("*.tokens"))
    whole = tokens.read_bytes()
    tokens.unlink()
    tokens.with_suffix(".saved").write_text("[5, 1000000]")
    assert work(text, 1).returncode == -signal.SIGKILL
    assert work(text, 0).returncode == 0
    assert tokens.read_bytes() == whole


def test_progress_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("{{ cookiecutter.package_name }}.engine.logs.log.propagate", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(token_files, "SECONDS", 0.0)
    text = write_source(tmp_path / "book.txt")
    with caplog.at_level("INFO"):
        merges = merges_of(whole_documents([text], text), 300)
        tokens_of(whole_documents([text], text), Vocabulary(merges))
    lines = [record.message for record in caplog.records]
    assert lines[0] == "Learning a vocabulary of 300 tokens from 2.00 MB of text"
    assert any(line.startswith("Tokenised 1.0") and " of 2.00 MB of text, about " in line for line in lines)
    assert "Tokenised 2.00 MB of 2.00 MB of text, about 0 s left" in lines


def test_a_vocabulary_is_learnt_from_a_part_of_a_large_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = write_source(tmp_path / "book.txt")
    learnt: list[Any] = []
    monkeypatch.setattr(token_files, "learn_merges", lambda texts, size: learnt.extend(texts) or [])
    monkeypatch.setattr(documents, "BLOCK_BYTES", 2**16)
    monkeypatch.setattr(token_files, "LEARNT_BYTES", 700_000)
    merges_of(whole_documents([text], text), 300)
    assert 0.9 < sum(map(len, learnt)) / 700_000 < 1.0
    chunks = [*Document("book", text, 0, 2_000_000).chunks()]
    assert learnt == chunks[::3]


def test_a_vocabulary_is_learnt_from_answers_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    texts = [Text(str(number), tmp_path, "xyz xyz" if number % 2 else "a" * 7) for number in range(100)]
    monkeypatch.setattr(token_files, "LEARNT_BYTES", 420)  # of 700: half of the texts are too many
    assert {*b"xyz"} & {byte for merge in merges_of(texts, 300) for byte in merge}


@pytest.mark.parametrize("text", ["line\n" * 3000, "ä€語🙂" * 3000, "a\r\nb\n\n" * 2500, "x" * 9999 + "\n", ""])
def test_chunks_are_whole_characters_and_lines(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "BLOCK_BYTES", 1000)
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    chunks = [*Document("text", path, 0, path.stat().st_size).chunks()]
    assert "".join(chunks) == text
    assert max(map(len, chunks), default=0) < 2000
    if text.startswith(("line", "a")):
        assert all(chunk.endswith("\n") for chunk in chunks)


def test_a_large_file_is_read_in_a_small_part_of_its_size(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        for number in range(40):
            file.write(f"line {number} ä\n".encode() * 2**16)
    tracemalloc.start()
    (document,) = whole_documents([path], path)
    documents.split_documents([document], 0.1, 0.1, 0)
    assert sum(map(len, document.chunks())) == path.stat().st_size - 40 * 2**16  # ä has two bytes
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 28e6
    assert peak < 9e6


def test_where_a_file_is_no_text_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    content = "ä".encode() * 700
    for block_bytes in (1, 3, 1000):
        blocks = [content[start : start + block_bytes] for start in range(0, len(content), block_bytes)]
        assert not_text(blocks) == ""
        assert "byte 1400: invalid start byte" in not_text([*blocks, b"\xff", b"ab"])
        assert "byte 1400: unexpected end of data" in not_text([*blocks, b"\xc3"])
        assert not_text([*blocks, b"\0", b"a"]) == "can't be read as text: it holds zero bytes"
