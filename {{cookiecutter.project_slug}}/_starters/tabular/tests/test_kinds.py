"""Unusual columns: identifiers, dates, numbers far from zero, rare and unknown categories."""

import datetime
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning import seed_everything
from sklearn.model_selection import StratifiedKFold

from {{ cookiecutter.package_name }}.callbacks import report
from {{ cookiecutter.package_name }}.datamodules.dates import date_option
from {{ cookiecutter.package_name }}.datamodules.rows import quantile_bins
from {{ cookiecutter.package_name }}.datamodules.table import TableDataModule
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.engine.logs import log
from {{ cookiecutter.package_name }}.models.features import Features, two_floats
from {{ cookiecutter.package_name }}.models.tabular import TabularModel
from {{ cookiecutter.package_name }}.models.targets import NumberTarget

RANDOM = np.random.default_rng(0)
NETWORK = {"_target_": "{{ cookiecutter.package_name }}.models.resnet.ResNet", "width": 16, "blocks": 1}
OPTIMIZER = {"_target_": "torch.optim.AdamW", "lr": 0.01}


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lines written to the log."""
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


def built(given: dict[str, Any], path: Path, **options: Any) -> TableDataModule:
    """Build the datamodule of a table with the `given` columns and noise `x` and `y`, in the file `path`."""
    size = len(next(iter(given.values())))
    frame = pd.DataFrame(given | {name: RANDOM.normal(size=size) for name in "xy" if name not in given})
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    arguments: dict[str, Any] = {"target": "y", **options}
    data = TableDataModule(root=path, **arguments)
    data.setup("fit")
    return data


IDENTIFIERS = {
    "Id": range(1, 101),
    "customerID": RANDOM.permutation(100) + 5000,
    "Unnamed: 0": range(100),
    "order_no": [float(each) for each in RANDOM.permutation(100) * 7],
    "observation": range(700, 800),
    "uuid": [f"{each:x}" for each in RANDOM.integers(2**40, size=100)],
}


@pytest.mark.parametrize("name", IDENTIFIERS)
def test_an_identifier_is_left_out_and_logged(name: str, tmp_path: Path, logged: Any) -> None:
    data = built({name: IDENTIFIERS[name]}, tmp_path / "mine.csv")
    assert (data.facts["numbers"], data.facts["categories"]) == (["x"], [])
    assert [line for line in logged() if f"Column {name!r} is left out" in line]
    assert name in str(built({name: IDENTIFIERS[name]}, tmp_path / "mine.csv", columns=[name]).facts)


def test_a_warning_names_row_numbers_of_which_one_repeats(tmp_path: Path, logged: Any) -> None:
    built({"number": [1, *range(1, 100)]}, tmp_path / "mine.csv")
    assert [line for line in logged() if line.startswith("Column 'number' rises or falls from row to row")]


def test_the_index_that_pandas_writes_without_a_name_is_an_identifier(tmp_path: Path, logged: Any) -> None:
    pd.DataFrame({"x": RANDOM.normal(size=50), "y": RANDOM.normal(size=50)}).to_csv(tmp_path / "mine.csv")
    data = TableDataModule(root=tmp_path / "mine.csv", target="y")
    data.setup("fit")
    assert data.facts["numbers"] == ["x"]
    assert [line for line in logged() if "Column 'Unnamed: 0' is left out" in line]


def test_an_identifier_of_more_digits_than_float64_holds_is_left_out(tmp_path: Path) -> None:
    data = built({"tweet_id": 10**18 + RANDOM.permutation(100)}, tmp_path / "mine.csv")
    assert data.facts["numbers"] == ["x"]


def test_a_warning_names_numbers_that_rise_from_row_to_row(tmp_path: Path, logged: Any) -> None:
    times = 1.7e9 + RANDOM.integers(1, 50, size=100).cumsum()
    columns = {"ts": times, "income": RANDOM.permutation(100) * 13, "age": RANDOM.integers(20, 80, size=100)}
    data = built(columns, tmp_path / "mine.csv")
    assert data.facts["numbers"] == ["ts", "income", "age", "x"]
    assert [line[:12] for line in logged()] == ["Column 'ts' ", "Is column 't"]
    assert "datamodule.drop=[ts]" in logged()[0]
    assert built(columns, tmp_path / "mine.csv", drop=["ts", "age"]).facts["numbers"] == ["income", "x"]


FOREIGN = {
    "durations": datetime.timedelta(days=3),
    "lists": [1, 2],
    "structs": {"a": 1},
    "bytes": b"ab",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_types_of_parquet_that_nothing_is_learnt_from_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=rf"column 'c' holds {kind} \("):
        built({"c": [FOREIGN[kind]] * 100}, tmp_path / "mine.parquet")
    empty = built({"c": [None] * 100, "d": [True, None] * 50}, tmp_path / "mine.parquet")
    assert (empty.facts["numbers"], empty.facts["categories"]) == (["x"], ["d"])


def test_numbers_far_from_zero_give_the_same_as_near_it(tmp_path: Path) -> None:
    seconds = RANDOM.integers(0, 800, size=100).astype(float)
    y = np.sin(seconds / 100)
    far, near = (
        built({"ts": ts, "x": y, "y": shift + y}, tmp_path / "mine.csv", columns=["ts"])
        for ts, shift in ((1.7e9 + seconds, 1e9), (seconds, 0.0))
    )
    pairs = [Features(*data.chosen, data.statistics)(*data.splits["train"][:2])[0] for data in (far, near)]
    torch.testing.assert_close(*pairs, rtol=0, atol=0)
    training = pd.Series(seconds[np.array(near.ids["train"]) - 2])
    scaled = (training - training.median()) / (training.quantile(0.75) - training.quantile(0.25))
    np.testing.assert_allclose(pairs[0][:, 0, 0].numpy(), scaled / np.hypot(1, scaled / 3), rtol=1e-5, atol=1e-7)


def test_predictions_and_scores_far_from_zero_are_exact() -> None:
    target = NumberTarget(1e9 + 0.25, 2.0)
    outputs = torch.tensor([[-1.0], [0.0], [0.125]])
    assert target.decode(outputs).tolist() == [1e9 - 1.75, 1e9 + 0.25, 1e9 + 0.5]
    true = two_floats(torch.tensor([1e9 - 1.75, 1e9 + 2.25, 1e9 + 0.5], dtype=torch.float64))
    assert target.loss(target.decode(outputs), true).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("column", ["x", "y"])
def test_numbers_that_cannot_be_told_apart_are_refused(column: str, tmp_path: Path) -> None:
    values = 10**18 + np.arange(100)  # float64 can represent one in 128
    with pytest.raises(RefusedError, match=rf"column {column!r}: of \d+ different values \d can be told apart"):
        built({column: values[RANDOM.permutation(100)]}, tmp_path / "mine.csv")


TARGETS = {
    "one negative value": np.array([0.0] * 359 + [5.0] * 40 + [-3.5]),
    "few of one kind": np.array([-1.0] * 8 + [0.0] * 1800 + [3.0] * 192),
    "two values": np.array([0.0] * 399 + [2.5]),
    "no ties": RANDOM.normal(size=400),
    "few rows": RANDOM.normal(size=12),
}


@pytest.mark.parametrize("folds", [None, 10])
@pytest.mark.parametrize("kind", TARGETS)
def test_a_number_is_never_refused_for_its_rare_values(kind: str, folds: int | None, tmp_path: Path) -> None:
    if folds and len(TARGETS[kind]) < 20:
        pytest.skip("ten folds want ten rows")
    fold = {"folds": folds, "fold": 1} if folds else {}
    data = built({"y": RANDOM.permutation(TARGETS[kind])}, tmp_path / "mine.csv", **fold)
    assert sum(map(len, data.ids.values())) == len(TARGETS[kind])


@pytest.mark.parametrize("folds", [None, 10])
def test_a_number_is_not_refused_if_few_large_ones_train(folds: int | None, tmp_path: Path) -> None:
    columns = {"y": np.arange(400.0) ** 1.5, "part": ["train"] * 200 + ["test"] * 199 + ["train"]}
    fold = {"folds": folds, "fold": 1} if folds else {}
    data = built(columns, tmp_path / "mine.csv", split="part", **fold)
    assert data.ids["test"] == [*range(202, 401)]
    assert (len(data.ids["train"]) + len(data.ids["val"]), len(data.ids["val"])) == (201, 21)


@pytest.mark.parametrize("least", [1, 13, 40])
def test_ranges_hold_at_least_as_many_as_are_to_be_divided(least: int) -> None:
    for values in TARGETS.values():
        found = quantile_bins(values, 10, least)
        if found is None:
            continue
        assert np.bincount(found).min() >= least
        highest = [values[found.numpy() == place].max() for place in range(int(found.max()))]
        lowest = [values[found.numpy() == place + 1].min() for place in range(int(found.max()))]
        assert all(high < low for high, low in zip(highest, lowest, strict=True))
        list(StratifiedKFold(min(least, 10)).split(values, found)) if least > 1 else None


def test_values_that_a_model_was_not_trained_on_are_counted(tmp_path: Path, logged: Any) -> None:
    zips = RANDOM.choice([20095, 50667, 80331], size=100)
    flags = RANDOM.choice([True, False], size=100)
    columns = {"zip": zips, "flag": flags, "x": np.linspace(-1, 1, 100)}
    model = built(columns, tmp_path / "mine.csv", categories=["zip"]).facts
    asked = pd.DataFrame({"zip": [20095.0, 50667.0, None, 99999.0], "flag": [1, 0, 1, 0], "x": [0.0, 0.5, 7.0, -9.0]})
    data = TableDataModule(root=tmp_path / "mine.csv")
    for name in ("new.csv", "new.parquet"):
        asked.to_csv(tmp_path / name, index=False) if name == "new.csv" else asked.to_parquet(tmp_path / name)
        data.read_inputs(str(tmp_path / name), model)
        known = model["statistics"]["categories"]
        assert data.inputs[1][:2, 0].tolist() == [known["zip"]["20095"], known["zip"]["50667"]]
        assert data.inputs[1][:, 1].tolist() == [known["flag"][each] for each in ("True", "False", "True", "False")]
    ends = [model["statistics"]["numbers"]["x"]["edges"][end] for end in (0, -1)]
    assert logged()[-2:] == [
        f"Column 'x': 2 of 4 values (50.0%) are outside the training's range, {ends[0]:.10g} to {ends[1]:.10g}",
        "Column 'zip': 2 of 4 values (50.0%) are categories that the training did not have (the first: 'no value')",
    ]


def test_a_test_on_other_rows_counts_what_the_training_did_not_have(tmp_path: Path, logged: Any) -> None:
    trained = built({"c": ["a", "b"] * 50}, tmp_path / "mine.csv")
    model = SimpleNamespace(hparams=trained.facts)
    other = built({"c": ["a", "z"] * 50, "x": RANDOM.normal(size=100)}, tmp_path / "other.csv")
    for data, lines in ((trained, 0), (other, 1)):
        data.trainer = SimpleNamespace(lightning_module=model, global_rank=0, world_size=1)  # type: ignore[assignment]
        data.test_dataloader()
        assert sum("categories that the training did not have" in line for line in logged()) == lines


def test_importance_of_many_columns_ends_in_time_and_logs_the_number_of_rows(tmp_path: Path, logged: Any) -> None:
    data = built({f"x{k}": RANDOM.normal(size=200) for k in range(40)}, tmp_path / "mine.csv")
    seed_everything(0, verbose=False)
    model = TabularModel(NETWORK, OPTIMIZER, **data.facts).eval()
    numbers, categories, targets = data.splits["train"]
    tested = report.PredictedRows(numbers, categories, targets, model(numbers, categories).detach())
    report.TabularReport(seconds=1e-3)._draw_importance(model, tested, tmp_path / "importance.png")
    assert (tmp_path / "importance.png").is_file()
    assert any(line.startswith("Importance of 41 columns on 50 test rows, each permuted once") for line in logged())


@pytest.mark.parametrize(
    ("rows", "bins", "hidden"), [(89, 9, "1 of 89 test rows, beyond"), (5000, 35, "50 of 5,000 test rows, beyond")]
)
def test_plots_suit_the_number_of_rows(
    rows: int, bins: int, hidden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = []
    monkeypatch.setattr(report, "save_figure", lambda figure, path: figures.append(figure))
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(rows, 2, generator=generator) * torch.tensor([3.0, 0.0])
    predictions = targets.sum(-1) + torch.randn(rows, generator=generator)
    tested = report.PredictedRows(torch.empty(rows, 0), torch.empty(rows, 0), targets, predictions)
    report.draw_predictions(tested, "y", tmp_path)
    report.draw_residuals(tested, "y", tmp_path)
    for figure in figures:
        figure.draw_without_rendering()
        low, high = figure.axes[-1].get_ylim()
        shown = [tick.label1.get_text() for tick in figure.axes[-1].yaxis.get_major_ticks()
                 if low <= tick.get_loc() <= high]  # fmt: skip
        assert {"1", "2"} <= {*shown} <= {"1", "2", "5", "10", "20", "50"}
        assert not figure.axes[-1].yaxis.get_minor_ticks()
    residuals = figures[1]
    assert len(residuals.axes[1].patches) == bins
    assert residuals.get_suptitle().splitlines()[1].startswith(hidden)
    assert residuals.get_suptitle().endswith("is not shown" if rows == 89 else "are not shown")


@pytest.mark.parametrize(("scale", "unit"), [(1, "s"), (1000, "ms")])
def test_a_number_that_may_be_a_unix_time_is_asked_about(scale: int, unit: str, tmp_path: Path, logged: Any) -> None:
    times = (1_700_000_000 + RANDOM.permutation(90) * 86_400) * scale
    built({"time": times, "salary": times // 10**6}, tmp_path / "mine.csv")
    asked = [line for line in logged() if "Unix time" in line]
    assert len(asked) == 1
    assert f"column 'time' a Unix time? It is a number; {date_option('time', unit)} makes it a date" in asked[0]
    read = built({"time": times}, tmp_path / "mine.csv", dates={"time": unit})
    assert "time: weekday" in read.facts["categories"]


def test_many_texts_are_a_category_if_each_has_many_rows(tmp_path: Path) -> None:
    rows = {"often": RANDOM.integers(0, 1_200, 14_000), "seldom": RANDOM.integers(0, 9_000, 14_000)}
    texts = {name: [f"N{each}" for each in places] for name, places in rows.items()}
    assert built(texts, tmp_path / "mine.csv").facts["categories"] == ["often"]
