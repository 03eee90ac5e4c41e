"""Evaluation on other text: training text is recognised by its tokens, wherever it stands; the rest is tested."""

from pathlib import Path

import numpy as np

from {{ cookiecutter.package_name }}.datamodules.text import TextDataModule
from {{ cookiecutter.package_name }}.datamodules.windows import NGRAM

SIZES = {"vocab_size": 512, "context": 64}


def test_windows_that_hold_text_of_the_training_are_known_again(own_data: Path, tmp_path: Path) -> None:
    own = TextDataModule(root=str(own_data), **SIZES)
    own.setup("fit")
    new = "\n".join(f"{number} apples and {number * 7} pears make {number * 8} fruits." for number in range(400))
    copied = own.documents["train"][0].read().decode()
    half = copied[len(copied) // 2 :].partition("\n")[2]  # from the middle on, so that windows begin elsewhere
    (tmp_path / "mixed.txt").write_text(f"{new}\n{half}\n{new}", encoding="utf-8")
    data = TextDataModule(root=str(tmp_path), **SIZES)
    data.trained = own.facts
    data.take_whole()
    data.setup("test")
    assert [len(data.documents[split]) for split in ("train", "val", "test")] == [0, 0, 1]
    assert data.facts["statistics"] == own.facts["statistics"]
    grams = set()
    for split in ("train", "val"):
        tokens = own.tokens[split].tolist()
        grams.update(tuple(tokens[begin : begin + NGRAM]) for begin in range(0, len(tokens) - NGRAM + 1, NGRAM))
    tokens = data.tokens["test"].tolist()
    hits = [begin for begin in range(len(tokens) - NGRAM + 1) if tuple(tokens[begin : begin + NGRAM]) in grams]
    starts = data.dataset("test").tensors[0].tolist()
    expected = [any(start - NGRAM < hit <= start + 64 for hit in hits) for start in starts]
    found = data.is_seen(own.trained_on())
    assert found.tolist() == expected
    assert 0 < sum(expected) < len(expected)
    data.keep_in_test(~found)
    kept = data.dataset("test")
    assert len(kept) == len(expected) - sum(expected)
    assert kept.tensors[0].tolist() == np.array(starts)[~found].tolist()
    assert not own.is_seen(np.empty(0, np.uint64)).any()
