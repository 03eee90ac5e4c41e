"""A file that tests: its series continue those of the training file, or are others; nothing of it is learnt from."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import NO_LOGGER, Command, fitting
from starter import real_counts

from {{ cookiecutter.package_name }}.datamodules.series import SeriesDataModule
from {{ cookiecutter.package_name }}.engine.errors import RefusedError

SIZES = {"context": 48, "horizon": 24, "seasons": [24]}
HERE, THERE = "45 Queen Street", "150 K Road"


def module(folder: Path, root: pd.DataFrame, test: pd.DataFrame, **options: Any) -> SeriesDataModule:
    root.to_csv(folder / "root.csv", index=False)
    test.to_csv(folder / "later.csv", index=False)
    arguments: dict[str, Any] = {**SIZES, "test_fraction": 0.0, **options}
    data = SeriesDataModule(folder / "root.csv", test=folder / "later.csv", **arguments)
    data.setup("fit")
    return data


def places(days: int, *names: str, first: str = "2023-01-30") -> pd.DataFrame:
    return pd.concat([real_counts(days, name, first).assign(place=name) for name in names], ignore_index=True)


def test_values_after_the_training_file_test_with_histories_from_it(tmp_path: Path) -> None:
    rows = real_counts(100)
    whole = module(tmp_path, rows[:2000], rows[2000:])
    assert {name: (int(at.min()), int(at.max())) for name, (at,) in whole.splits.items()} == {
        "train": (48, 1700 - 24), "val": (1700, 2000 - 24), "test": (2000, 2400 - 24),
    }  # fmt: skip
    overlapping = module(tmp_path, rows[:2000], rows[1900:])  # what both hold is history
    for name in whole.splits:
        index = torch.arange(len(whole.splits[name][0]))
        for one, other in zip(whole.dataset(name)[index], overlapping.dataset(name)[index], strict=True):
            assert torch.equal(one, other)
    history = whole.dataset("test")[torch.tensor([0])]
    assert (history[0] + history[4]).flatten().numpy() == pytest.approx(rows["value"][1952:2000], abs=1e-2)


def test_nothing_of_the_test_file_is_learnt_from(tmp_path: Path) -> None:
    """Sizes, scales, covariates, keys and batches of the training are those without it, even if it begins earlier."""
    root = places(60, HERE).assign(wind=np.arange(1440.0))
    test = places(100, HERE, THERE, first="2023-01-20").assign(wind=1e6, value=lambda each: each["value"])
    options = {"series": "place", "future_covariates": ["wind"], "gaps": "skip"}
    joined = module(tmp_path, root, test, **options)
    alone = SeriesDataModule(tmp_path / "root.csv", **SIZES, test_fraction=1e-9, **options)
    alone.setup("fit")
    assert joined.facts == alone.facts
    assert np.array_equal(np.unique(joined.trained_on()), np.unique(alone.trained_on()))
    for name in ("train", "val"):
        one, other = (data.dataset(name)[torch.arange(len(data.splits[name][0]))] for data in (joined, alone))
        assert len(one[0]) == len(other[0]) > 100
        for left, right in zip(one, other, strict=True):
            assert torch.equal(left, right)
    ids = joined.sample_ids("test", torch.arange(len(joined.splits["test"][0])))
    assert ids[0] == f"{HERE} 2023-03-31 00:00"
    assert sum(each.startswith(THERE) for each in ids) == 2400 - 48 - 24 + 1


def test_a_wide_test_file_may_hold_more_series(tmp_path: Path) -> None:
    root = real_counts(60).rename(columns={"value": "one"})
    test = real_counts(90).rename(columns={"value": "one"}).assign(two=real_counts(90, THERE)["value"])
    data = module(tmp_path, root, test[1000:], wide=True)
    assert data.panel.names == ["one", "two"]
    starts = data.splits["test"][0].numpy().reshape(-1) % data.panel.values.shape[1]
    rows = data.splits["test"][0].numpy() // data.panel.values.shape[1]
    assert (starts[rows == 0].min(), starts[rows == 1].min()) == (1440, 1048)


def test_texts_keep_their_meaning_in_the_test_file(tmp_path: Path) -> None:
    kinds = real_counts(60)["time"].dt.dayofweek.map(lambda day: "feast" if day == 6 else "work")
    root = real_counts(60).assign(kind=kinds)
    later = real_counts(10, first="2023-03-31").assign(kind="another")
    later.loc[later.index[30:60], "kind"] = "work"
    data = module(tmp_path, root, later, future_covariates=["kind"])
    assert data.facts["covariates"][0]["categories"] == ["feast", "work"]
    assert data.covariates is not None
    feast, work = data.covariates[:, 0, -240:].numpy()
    assert (feast.sum(), work.sum(), work[30:60].sum()) == (0, 30, 30)


ROOT, LATER = real_counts(60), real_counts(10, first="2023-03-31")
REFUSED: dict[str, tuple[pd.DataFrame, dict[str, Any], str]] = {
    "earlier": (ROOT[:1000], {}, "adds no value; expected later ones than root's, or other series"),
    "another value": (
        pd.concat([ROOT[-5:].assign(value=9999), LATER]), {},
        "value 2023-03-30 19:00: its value is 9999, that of root",
    ),
    "another step": (LATER.iloc[::2], {}, "later.csv, row 3, column 'time': before it 1 steps of h are missing"),
    "a zone": (LATER.assign(time=LATER["time"].dt.tz_localize("UTC")), {}, "its times are not written as those of"),
    "below the least": (LATER.assign(value=-1), {"least": 0.0}, "datamodule.least=0.0: a value is -1"),
    "short": (LATER[:10], {}, "test (the steps that its file adds) has no whole window"),
    "no column": (LATER.rename(columns={"value": "count"}), {}, "later.csv has no column 'value'"),
    "split": (LATER, {"split": "part"}, "datamodule.split=part: rows are of test, and so is the file datamodule.test"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_test_file_that_does_not_fit_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    test, options, message = REFUSED[kind]
    root = ROOT.assign(part=["train"] * 1000 + ["val"] * 300 + ["test"] * 140)
    with pytest.raises(RefusedError) as refused:
        module(tmp_path, root, test, **options)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_test_at_all_is_refused(tmp_path: Path) -> None:
    ROOT.to_csv(tmp_path / "root.csv", index=False)
    data = SeriesDataModule(tmp_path / "root.csv", **SIZES, test_fraction=0.0)
    with pytest.raises(RefusedError, match=r"^datamodule\.test_fraction=0\.0: no step would test; expected a fraction"):
        data.setup("fit")


def test_a_column_of_splits_divides_the_rest(tmp_path: Path) -> None:
    data = module(tmp_path, ROOT.assign(part=["train"] * 1000 + ["val"] * 440), LATER, split="part")
    begins = {name: (int(at.min()), int(at.max())) for name, (at,) in data.splits.items()}
    assert begins == {"train": (48, 1000 - 24), "val": (1000, 1440 - 24), "test": (1440, 1680 - 24)}


def test_a_run_tests_on_the_file_and_is_evaluated_again(command: Command) -> None:
    ROOT.to_csv(command.folder / "root.csv", index=False)
    LATER.to_csv(command.folder / "later.csv", index=False)
    status, output = command(
        "train.py", "name=tested", "datamodule=series", "datamodule.root=root.csv", "datamodule.test=later.csv",
        "datamodule.test_fraction=0", "trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks=[default]",
        *NO_LOGGER, *fitting(["model.network.width=16", "datamodule.context=48"]),
    )  # fmt: skip
    assert status == 0, output
    assert "217 test; the test is of later.csv" in output
    status, output = command("evaluate.py", "run=runs/tested")
    assert status == 0, output
    assert "217" in output
