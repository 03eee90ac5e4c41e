"""Evaluation on other tables: training rows are recognised by content; a small table is read as the model's."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.datamodules.table import TableDataModule
from {{ cookiecutter.package_name }}.engine.errors import RefusedError


def write_noise(path: Path, rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """Write random columns, one of them a category, and random labels."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(rows, 3)).round(3), columns=["a", "b", "c"])
    frame["kind"] = random.choice(["x", "z"], rows)
    frame["y"] = random.choice(["no", "yes"], rows)
    frame.to_csv(path, index=False)
    return frame


def whole(path: Path, trained: TableDataModule, **options: Any) -> TableDataModule:
    data = TableDataModule(root=path, **options)
    data.trained = trained.facts
    data.take_whole()
    data.setup("test")
    return data


def test_rows_of_training_and_validation_are_known_again_in_any_table(tmp_path: Path) -> None:
    frame = write_noise(tmp_path / "own.csv")
    own = TableDataModule(root=tmp_path / "own.csv")
    own.setup("fit")
    new = write_noise(tmp_path / "new.csv", 50, seed=1)
    new.iloc[0] = frame.iloc[0].to_list()
    changed = frame.iloc[:30].assign(y=frame["y"].map({"no": "yes", "yes": "no"}))  # another label makes another row
    mixed = pd.concat([new, changed, frame.sample(frac=1, random_state=0)])
    mixed.to_csv(tmp_path / "mixed.csv", index=False)
    lines = (tmp_path / "own.csv").read_text().splitlines()
    header = min(row for ids in own.ids.values() for row in ids) - 1
    seen = {lines[row - header] for split in ("train", "val") for row in own.ids[split]}
    expected = [line in seen for line in (tmp_path / "mixed.csv").read_text().splitlines()[1:]]
    data = whole(tmp_path / "mixed.csv", own)
    assert [len(data.splits[split][0]) for split in ("train", "val", "test")] == [0, 0, len(mixed)]
    found = data.is_seen(own.trained_on())
    assert found.tolist() == expected
    assert found.sum() >= 240
    data.keep_in_test(~found)
    assert len(data.splits["test"][0]) == len(data.ids["test"]) == len(mixed) - sum(expected)
    assert not own.is_seen(own.trained_on()).any()


def test_a_small_table_is_read_as_the_model_s(tmp_path: Path) -> None:
    """A table of one row, which alone would have no column to predict from and no second class."""
    frame = write_noise(tmp_path / "own.csv")
    own = TableDataModule(root=tmp_path / "own.csv")
    own.setup("fit")
    frame.iloc[[7]][["y", "kind", "c", "b", "a"]].to_csv(tmp_path / "one.csv", index=False)
    data = whole(tmp_path / "one.csv", own)
    facts = {key: value for key, value in data.facts.items() if key != "statistics"}
    assert facts == {key: value for key, value in own.facts.items() if key != "statistics"}
    assert data.splits["test"][2].tolist() == [["no", "yes"].index(str(frame["y"][7]))]
    frame.drop(columns="c").to_csv(tmp_path / "less.csv", index=False)
    with pytest.raises(RefusedError, match="has no column 'c'"):
        whole(tmp_path / "less.csv", own)
    assert whole(tmp_path / "own.csv", own, columns=["a", "b"]).facts["numbers"] == ["a", "b"]  # which is refused later


def test_numbers_of_another_table_are_measured_whole(tmp_path: Path) -> None:
    for name, seed in {"own": 0, "new": 1}.items():
        frame = write_noise(tmp_path / "noise.csv", 60, seed).assign(y=lambda frame: frame["a"] * 2)
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    own = TableDataModule(root=tmp_path / "own.csv")
    own.setup("fit")
    data = whole(tmp_path / "new.csv", own)
    assert data.splits["test"][2].double().sum(-1).numpy() == pytest.approx(frame["y"].to_numpy())


@pytest.mark.parametrize(("option", "why"), [("drop", "and needs it"), ("categories", "as a number")])
def test_what_a_model_was_trained_on_is_not_changed_in_silence(option: str, why: str, tmp_path: Path) -> None:
    write_noise(tmp_path / "own.csv")
    own = TableDataModule(root=tmp_path / "own.csv", drop=["b"])
    own.setup("fit")
    assert len(whole(tmp_path / "own.csv", own, **{option: ["b"]}).splits["test"][0]) == 300
    with pytest.raises(RefusedError, match=rf"^datamodule.{option}=\['a'\]: the model was trained on 'a' {why}"):
        whole(tmp_path / "own.csv", own, **{option: ["a"]})
