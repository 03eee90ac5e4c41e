"""Text files as users have them: of one line, with byte order marks, copied, hidden, behind links."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from {{ cookiecutter.package_name }}.datamodules.documents import split_documents, whole_documents
from {{ cookiecutter.package_name }}.datamodules.text import TextDataModule
from {{ cookiecutter.package_name }}.datamodules.tokenizer import Vocabulary, learn_merges
from {{ cookiecutter.package_name }}.engine.errors import RefusedError

SENTENCE = "So it was, and „größer“ than before; no line ended."


def parts_of(text: str, folder: Path) -> list[str]:
    """Train, validation and test parts of a text in one file."""
    path = folder / "book.txt"
    path.write_bytes(text.encode())
    splits = split_documents(whole_documents([path], path), 0.1, 0.1, 0)
    return ["".join(document.read().decode() for document in splits[name]) for name in ("train", "val", "test")]


ONE_LINE = {
    "a title and one line": ("A Title\n" + " ".join([SENTENCE] * 400), ". "),
    "sentences of another script": ("這是一個句子。" * 4000, "。"),
    "words": ("word " * 9000, "word "),
    "letters": ("ä€語" * 5000, ""),
    "a long line in the middle": ("line\n" * 20 + "x " * 20_000 + "\nend\n" * 5, "x "),
    "lines that end as on Windows": ("a line of a poem\r\n" * 900, "\r\n"),
}


@pytest.mark.parametrize("kind", ONE_LINE)
def test_a_text_is_cut_near_its_shares_however_its_lines_are(kind: str, tmp_path: Path) -> None:
    text, end = ONE_LINE[kind]
    parts = parts_of(text, tmp_path)
    assert "".join(parts) == text
    sizes = np.array([len(part.encode()) for part in parts]) / len(text.encode())
    assert sizes == pytest.approx([0.8, 0.1, 0.1], abs=0.026)  # a quarter of the smallest part
    assert parts[0].endswith(end)
    assert parts[1].endswith(end)


def test_a_title_and_one_line_can_be_trained_on(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(ONE_LINE["a title and one line"][0], encoding="utf-8")
    data = TextDataModule(str(tmp_path / "book.txt"), tokenizer="bytes", context=128)
    data.setup("fit")
    assert len(next(iter(data.train_dataloader()))[0]) == 64


@pytest.mark.parametrize(("size", "context"), [(90, 128), (4000, 256), (10, 16)])
def test_a_short_text_is_refused_with_its_size_and_the_size_needed(size: int, context: int, tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("".join(chr(97 + n % 26) for n in range(size)))
    with pytest.raises(RefusedError) as refused:
        TextDataModule(str(path), tokenizer="bytes", context=10 * context).setup("fit")
    message = str(refused.value)
    assert f"all of it has {size / 1000:.1f} kB: expected more text, about " in message
    assert "\n" not in message
    if size < 20:  # no context would fit
        return
    fits = int(message.rpartition("datamodule.context=")[2].split()[0])
    TextDataModule(str(path), tokenizer="bytes", context=fits).setup("fit")
    with pytest.raises(RefusedError):
        TextDataModule(str(path), tokenizer="bytes", context=fits + 1).setup("fit")


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def read(root: Path, caplog: pytest.LogCaptureFixture, **arguments: Any) -> tuple[dict[str, bytes], str]:
    """Names and contents of the texts used, and the log."""
    caplog.clear()
    with caplog.at_level("INFO"):
        documents = TextDataModule(str(root), **arguments).load_documents()
    return {document.name: document.read() for document in documents}, caplog.text


@pytest.fixture(autouse=True)
def _log_reaches_caplog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("{{ cookiecutter.package_name }}.engine.logs.log.propagate", True)


def test_what_is_left_out_is_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = folder_of(
        tmp_path / "notes",
        {
            "a.txt": b"one", "b/copy of a.txt": b"one", "b/c.txt": b"two", "empty.txt": b"", "blank.md": b" \n\n",
            ".ipynb_checkpoints/a.txt": b"one, before", "b/.hidden": b"three", "__MACOSX/a.txt": b"four",
            "utf16.txt": "fünf".encode("utf-16"), "latin.txt": "sechs: ö".encode("latin-1"), "binary.dat": b"\0\1\2",
            "bom.txt": b"\xef\xbb\xbfseven", "bom copy.txt": b"seven", "only a mark.txt": b"\xef\xbb\xbf",
        },
    )  # fmt: skip
    texts, log = read(root, caplog)
    assert texts == {"a.txt": b"one", "b/c.txt": b"two", "bom copy.txt": b"seven"}
    assert "3 hidden files and folders: .ipynb_checkpoints, __MACOSX, b/.hidden" in log
    assert "2 copies of other files: b/copy of a.txt (of a.txt), bom.txt (of bom copy.txt)" in log
    assert "3 empty files: blank.md, empty.txt, only a mark.txt" in log
    assert "utf16.txt can't be read as UTF-8 text (it is UTF-16; iconv -f UTF-16 -t UTF-8 converts it)" in log
    assert "latin.txt can't be read as UTF-8 text" in log
    assert "binary.dat can't be read as text: it holds zero bytes" in log


def test_copies_are_only_in_one_split(tmp_path: Path) -> None:
    root = folder_of(tmp_path, {f"{n:02}.txt": f"text {n % 12} ".encode() * 100 for n in range(24)})
    data = TextDataModule(str(root), tokenizer="bytes", context=16)
    data.setup("fit")
    contents = [document.read() for part in data.documents.values() for document in part]
    assert len(contents) == len(set(contents)) == 12


def test_a_large_file_that_is_held_out_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = folder_of(tmp_path, {f"{n}.txt": f"{n}".encode() * (100_000 if n == 17 else 100) for n in range(10, 20)})
    documents = whole_documents(sorted(root.iterdir()), root)
    cases = []
    for seed in range(30):
        caplog.clear()
        splits = split_documents(documents, 0.1, 0.1, seed)
        cases.append(("Training gets " in caplog.text, "17.txt" in [each.name for each in splits["train"]]))
    assert {warned != trained_on for warned, trained_on in cases} == {True}
    assert 0 < sum(warned for warned, _ in cases) < 30


def test_a_byte_order_mark_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "bom.txt"
    path.write_bytes(b"\xef\xbb\xbf" + SENTENCE.encode() * 50)
    data = TextDataModule(str(path), tokenizer="bytes", context=16)
    data.setup("fit")
    assert b"".join(document.read() for part in data.documents.values() for document in part) == SENTENCE.encode() * 50


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_folders_behind_links_are_read_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = folder_of(tmp_path / "root", {"a.txt": b"one"})
    (root / "link").symlink_to(folder_of(tmp_path / "elsewhere", {"b.txt": b"two"}), target_is_directory=True)
    (root / "circle").symlink_to(root, target_is_directory=True)
    assert read(root, caplog)[0] == {"a.txt": b"one", "link/b.txt": b"two"}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["a.txt", "b.md", "c/d.txt"]), ("*.txt", ["a.txt", "c/d.txt"]), ("**/*.txt", ["a.txt", "c/d.txt"]),
        ("c/*", ["c/d.txt"]),
    ],
)  # fmt: skip
def test_a_pattern_chooses_files(
    pattern: str, names: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = folder_of(tmp_path, {"a.txt": b"one", "b.md": b"two", "c/d.txt": b"three"})
    assert [*read(root, caplog, pattern=pattern)[0]] == names


@pytest.mark.parametrize("pattern", ["/x", "", "../*.txt", "/", "//*", "**x", "a/../../*"])
def test_a_pattern_that_leads_elsewhere_is_refused(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"^datamodule\.pattern.*expected a pattern of names below the root"):
        TextDataModule(str(tmp_path), pattern=pattern)


def test_words_without_an_end_take_no_more_time_than_others(tmp_path: Path) -> None:
    """Merges are learnt within words; without a limit, a genome on one line would be one word and take minutes."""
    letters = "".join(np.random.default_rng(0).choice(list("ACGT"), 60_000))
    merges = learn_merges([letters], 400)
    vocabulary = Vocabulary(merges)
    tokens = vocabulary.encode(letters)
    assert vocabulary.decode(tokens) == letters
    assert max(len(piece) for piece in vocabulary.pieces) < 64
    lengths = np.cumsum([len(vocabulary.pieces[token]) for token in tokens])
    assert set(range(512, 60_000, 512)) <= set(lengths.tolist())  # cut at this length
