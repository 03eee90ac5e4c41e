"""Texts, vocabulary, tokens and windows: nothing is lost or counted twice, and bad files are named."""

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from {{ cookiecutter.package_name }}.datamodules import token_files
from {{ cookiecutter.package_name }}.datamodules.library import LibraryDataModule
from {{ cookiecutter.package_name }}.datamodules.text import TextDataModule
from {{ cookiecutter.package_name }}.datamodules.tokenizer import Vocabulary, learn_merges
from {{ cookiecutter.package_name }}.datamodules.windows import WindowOrder, evaluation_windows, training_windows
from {{ cookiecutter.package_name }}.engine.errors import RefusedError

TEXT = "import os\n\n\ndef größe(π: float) -> str:\n    return '€' * 3  # 语言 🙂\n" * 20


def text_of(data: Any, split: str) -> bytes:
    pieces = Vocabulary(**data.statistics).pieces
    return b"".join(pieces[token] for token in data.tokens[split])


@pytest.mark.parametrize("vocab_size", [257, 290, 310])
def test_every_text_comes_back_from_its_tokens(vocab_size: int) -> None:
    vocabulary = Vocabulary(learn_merges([TEXT], vocab_size) if vocab_size > 257 else [])
    assert len(vocabulary) == vocab_size
    for text in (TEXT, "", " \t\r\n\n  x", "never seen: ¡Ünï çødé! \x01"):
        tokens = vocabulary.encode(text)
        assert vocabulary.decode(tokens) == text
        assert b"".join(vocabulary.pieces[token] for token in tokens) == text.encode()
    assert "".join(vocabulary.stream(vocabulary.encode("€")[:-1])) in ("", "�")


def test_the_same_text_gives_the_same_merges_and_fewer_tokens_than_bytes() -> None:
    merges = learn_merges([TEXT], 310)
    assert merges == learn_merges([TEXT], 310)
    assert len(Vocabulary(merges).encode(TEXT)) < len(TEXT.encode()) / 3


@pytest.mark.parametrize("merges", [[[256, 97]], [[-1, 97]], [[97, 97], *([256 + n, 256 + n] for n in range(40))]])
def test_merges_that_a_stranger_made_up_are_refused(merges: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="merge"):
        Vocabulary(merges)


def test_tokens_hold_the_files_of_each_split_whole() -> None:
    data = LibraryDataModule(vocab_size=300)
    data.setup("fit")
    assert isinstance(data.tokens["train"], np.memmap)
    names = {name: {document.name for document in part} for name, part in data.documents.items()}
    assert not names["train"] & names["test"]
    assert not names["val"] & names["test"]
    assert text_of(data, "test") == b"".join(document.read() for document in data.documents["test"])
    ends = np.count_nonzero(data.tokens["test"] == len(Vocabulary(**data.statistics)) - 1)
    assert ends == len(data.documents["test"]) + 1


def test_a_few_files_are_cut_and_their_ends_held_out(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("".join(f"line {number} ä\n" for number in range(2000)), encoding="utf-8")
    data = TextDataModule(str(path), tokenizer="bytes", context=16)
    data.setup("fit")
    parts = [text_of(data, split) for split in ("train", "val", "test")]
    assert b"".join(parts) == path.read_bytes()
    assert all(part.endswith(b"\n") for part in parts)
    assert len(parts[0]) == pytest.approx(0.8 * path.stat().st_size, rel=0.01)


@pytest.mark.parametrize("size", [17, 18, 24, 25, 100, 113])
def test_each_token_but_the_first_is_a_target_once(size: int) -> None:
    tokens, context = np.arange(size, dtype=np.uint16), 16
    windows, counted = evaluation_windows(tokens, context)[torch.arange(len(evaluation_windows(tokens, context)))]
    assert windows[:, 1:][counted].tolist() == list(range(1, size))
    assert windows[:, 1:][counted][windows[:, 0].sum() > 0 :].min() >= 0
    fewer = evaluation_windows(tokens, context, at_most=2)
    assert len(fewer) == min(2, len(windows))


def test_a_pass_goes_once_over_the_text_in_any_number_of_epochs() -> None:
    tokens = np.arange(1003, dtype=np.uint16)
    data = training_windows(tokens, 10)
    for epoch_batches, epochs in ((None, 1), (4, 3)):
        order = WindowOrder(len(data), 8, 10, epoch_batches, seed=3)
        places = [data.places(index) for epoch in range(epochs) for index in order.of_epoch(epoch)]
        seen = torch.cat(places)
        assert len(seen) == len(seen.unique()) >= 12 * 8
        assert len((seen % 10).unique()) == 1
    offsets = {int(data.places(WindowOrder(len(data), 8, 10, None, seed=3).of_epoch(e)[0])[0] % 10) for e in range(20)}
    assert len(offsets) > 5
    (windows, _) = data[order.of_epoch(0)[0]]
    assert torch.equal(windows, windows[:, :1] + torch.arange(11))
    last = data[torch.tensor([len(data) - 1 + 9 * len(data)])][0]
    assert last.max() <= 1002


def _make(folder: str, results: Any) -> None:
    token_files.cache_folder = lambda: Path(folder)  # type: ignore[assignment]
    path = Path(folder, "source.txt")
    data = TextDataModule(str(path), context=16, vocab_size=400)
    data.setup("fit")
    results.put((len(data.tokens["train"]), text_of(data, "test")))


def test_several_processes_make_a_file_once_and_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "source.txt").write_text(TEXT * 40, encoding="utf-8")
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    processes = [spawn.Process(target=_make, args=(str(tmp_path), results)) for _ in range(2)]
    for process in processes:
        process.start()
    found = {results.get(timeout=120) for _ in processes}
    for process in processes:
        process.join()
    assert len(found) == 1
    assert len(list(tmp_path.glob("*.tokens"))) == 3
    assert {path.suffix for path in tmp_path.iterdir()} == {".txt", ".json", ".tokens", ".lock"}


def test_files_that_are_no_text_are_named_and_left_out(
    own_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("{{ cookiecutter.package_name }}.engine.logs.log.propagate", True)
    data = TextDataModule(str(own_data), context=16)
    data.setup("fit")
    assert "broken.txt can't be read as UTF-8 text" in caplog.text
    names = [document.name for part in data.documents.values() for document in part]
    assert sorted(names) == sorted(path.name for path in own_data.iterdir() if path.name != "broken.txt")


BAD: dict[str, tuple[bytes, str]] = {
    "short": (bytes(range(33, 123)), "text.txt) has "),
    "empty": (b"", "it is not UTF-8 text"),
    "binary": (b"\x00\x01" * 4000, "it is not UTF-8 text"),
    "other encoding": ("größer\n".encode("latin-1") * 4000, "it is not UTF-8 text"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_text_that_can_t_be_trained_on_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    content, message = BAD[kind]
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(RefusedError) as refused:
        TextDataModule(str(tmp_path / "text.txt"), context=128).setup("fit")
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"no file \*\.md below it"):
        TextDataModule(str(tmp_path), pattern="*.md").setup("fit")
