"""Tables as people have them: dates, ordered texts, weights, given splits, a second file, classes of 0 and 1."""

import datetime
import json
import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command

from {{ cookiecutter.package_name }}.datamodules import table
from {{ cookiecutter.package_name }}.datamodules.dates import date_format, seconds
from {{ cookiecutter.package_name }}.datamodules.diamonds import DiamondsDataModule
from {{ cookiecutter.package_name }}.datamodules.table import TableDataModule
from {{ cookiecutter.package_name }}.datamodules.table_files import read_table, write_table
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.engine.logs import log
from {{ cookiecutter.package_name }}.models.classes import Decision
from {{ cookiecutter.package_name }}.models.targets import ClassTarget, NumberTarget


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lines written to the log."""
    monkeypatch.setattr(log, "propagate", True)
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


def table_of(name: str) -> pd.DataFrame:
    """Read a table that comes with plotnine."""
    package = find_spec("plotnine")
    assert package is not None
    assert package.origin is not None
    return read_table(Path(package.origin).parent / "data" / f"{name}.csv")


@pytest.fixture(scope="module")
def economics() -> pd.DataFrame:
    """574 months of the economy of the United States, from July 1967."""
    return table_of("economics")


def built(frame: pd.DataFrame, path: Path, **options: Any) -> TableDataModule:
    """Write `frame` to `path` and build its datamodule."""
    write_table(frame, path)
    data = TableDataModule(root=path, **options)
    data.setup("fit")
    return data


def numbers_of(data: TableDataModule, split: str = "train") -> pd.DataFrame:
    """Return the numbers of a split, by column."""
    return pd.DataFrame(data.splits[split][0].double().sum(-1).numpy(), columns=data.chosen.numbers)


WRITTEN = {  # 31 January 2024, 12 days before and 12 after it, as files write them
    "%Y-%m-%d": "%Y-%m-%d",
    "with times": "%Y-%m-%dT%H:%M:%S+01:00",
    "days first": "%d/%m/%Y",
    "days first with times": "%d/%m/%Y %H:%M",
    "months first": "%m/%d/%Y %I:%M %p",
    "German": "%d.%m.%Y",
    "short years": "%m/%d/%y",
    "named months": "%d %B %Y",
    "digits": "%Y%m%d",
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_dates_are_read_as_the_file_writes_them(kind: str, tmp_path: Path) -> None:
    times = [datetime.datetime(2024, 1, 31, 15, 30) + datetime.timedelta(days=day) for day in range(-12, 13)]
    column = pd.Series([*(time.strftime(WRITTEN[kind]) for time in times), "NA"], name="day")
    read = seconds(column, date_format(column, tmp_path), tmp_path)
    clock = 15.5 * 3600 if "%M" in WRITTEN[kind] or "%I" in WRITTEN[kind] else 0.0
    expected = [datetime.datetime(time.year, time.month, time.day).timestamp() for time in times]
    zone = datetime.datetime(2024, 1, 31).timestamp() - 19_753 * 86_400
    np.testing.assert_allclose(read, [*(stamp - zone + clock for stamp in expected), np.nan])
    np.testing.assert_allclose(seconds(column, WRITTEN[kind], tmp_path), read)


def test_a_clock_without_colons_is_read_by_its_format(tmp_path: Path) -> None:
    column = pd.Series(["31.01.2024 15.30", "01.02.2024 00.15"], name="day")
    read = seconds(column, "%d.%m.%Y %H.%M", tmp_path)
    assert (read - 19_753 * 86_400).tolist() == [15.5 * 3600, 24.25 * 3600]


def test_a_date_gives_its_parts_and_the_time_elapsed(tmp_path: Path, logged: Any) -> None:
    random = np.random.default_rng(0)
    ordered = pd.Series(pd.to_datetime("2023-12-25") + pd.to_timedelta(random.integers(0, 500_000, 400), "min"))
    took = random.integers(1, 20, 400)
    frame = pd.DataFrame(
        {
            "ordered": ordered.dt.strftime("%d.%m.%Y %H:%M"),
            "sent": (ordered.dt.normalize() + pd.to_timedelta(took, "D")).astype(str),
            "y": random.normal(size=400),
        }
    )
    data = built(frame, tmp_path / "mine.csv")
    parts = ["day of month", "day of year", "days", "hour"]
    assert data.chosen.numbers[:4] == [f"ordered: {part}" for part in parts]
    assert data.chosen.categories == ["ordered: weekday", "sent: weekday"]
    found, rows = numbers_of(data), np.array(data.ids["train"]) - 2
    chosen = ordered[rows].reset_index(drop=True)
    assert found["ordered: day of year"].tolist() == chosen.dt.day_of_year.tolist()
    assert found["ordered: day of month"].tolist() == chosen.dt.day.tolist()
    np.testing.assert_allclose(found["ordered: hour"], chosen.dt.hour + chosen.dt.minute / 60, rtol=1e-6)
    elapsed = (chosen.dt.normalize() + pd.to_timedelta(took[rows], "D") - chosen) / pd.Timedelta(days=1)
    np.testing.assert_allclose(found["sent - ordered: days"], elapsed, rtol=1e-6, atol=1e-6)
    assert {*data.statistics["categories"]["sent: weekday"]} == {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}
    assert any(line.startswith("Column 'ordered' holds dates (%d.%m.%Y): weekday, day of month") for line in logged())


def test_a_day_with_many_rows_is_a_category_and_a_type_of_parquet_a_date(tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=20).repeat(20)
    frame = pd.DataFrame({"day": days, "y": np.random.default_rng(0).normal(size=400)})
    data = built(frame, tmp_path / "mine.parquet")
    assert data.chosen.categories == ["day: weekday", "day: date"]
    assert "2024-01-07" in data.statistics["categories"]["day: date"]
    assert built(frame, tmp_path / "mine.parquet", time="day").chosen.categories == ["day: weekday"]


UNCLEAR = {
    "two ways": (["3/4/2024", "4/5/2024"] * 20, {}, r"'3/4/2024' is %d/%m/%Y or %m/%d/%Y; .*datamodule.dates={day: "),
    "no date": (["2024-01-31"] * 39 + ["soon"], {}, r"row 41, column 'day': 'soon' is not a date as %Y-%m-%d"),
    "another format": (["2024-01-31"] * 40, {"dates": {"day": "%d.%m.%Y"}}, "row 2, column 'day': '2024-01-31' is not"),
    "no directive": (["2024-01-31"] * 40, {"dates": {"day": "%Q"}}, "datamodule.dates=%Q: is no format .*'Q' is"),
    "one twice": (["2024-01-31"] * 40, {"dates": {"day": "%d %d"}}, "datamodule.dates=%d %d: is no format of dates"),
    "twice": (["a", "b"] * 20, {"dates": {"day": "s"}, "categories": ["day"]}, "'day' is in datamodule.dates too"),
    "no such column": (["a", "b"] * 20, {"dates": {"dya": "s"}}, "datamodule.dates: .* did you mean day"),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_unclear_dates_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    days, options, message = UNCLEAR[kind]
    with pytest.raises(RefusedError, match=message) as error:
        built(pd.DataFrame({"day": days, "x": range(0, 400, 10), "y": range(40)}), tmp_path / "mine.csv", **options)
    assert "\n" not in str(error.value)
    if kind == "two ways":
        given = pd.DataFrame({"day": days, "y": np.arange(40) / 8})
        data = built(given, tmp_path / "mine.csv", dates={"day": "%m/%d/%Y"}, target="y")
        assert set(numbers_of(data)["day: day of month"]) == {4.0, 5.0}


def test_ordered_texts_are_their_places(tmp_path: Path) -> None:
    frame = DiamondsDataModule().load_table().frame.iloc[::40]
    order = ["Fair", "Good", "Very Good", "Premium", "Ideal"]
    data = built(frame, tmp_path / "mine.csv", target="price", ordinal={"cut": order})
    assert data.chosen.categories == ["color", "clarity"]
    cuts = frame["cut"].iloc[np.array(data.ids["train"]) - 2]
    assert numbers_of(data)["cut"].tolist() == [order.index(cut) for cut in cuts]
    with pytest.raises(RefusedError, match=r"datamodule.ordinal=cut: .*, row \d+: 'Ideal' is not among Fair"):
        built(frame, tmp_path / "mine.csv", target="price", ordinal={"cut": order[:-1]})


def test_a_target_of_0_and_1_is_a_class_with_a_question_in_the_log(tmp_path: Path, logged: Any) -> None:
    frame = table_of("mpg").assign(fast=lambda cars: (cars["cyl"].astype(int) > 4).astype(int))
    data = built(frame, tmp_path / "mine.csv", target="fast", drop=["cyl"])
    assert data.class_names == ["0", "1"]
    assert [line for line in logged() if line.startswith("Is the target 'fast' a class? It is 0 or 1: yes.")]
    assert built(frame, tmp_path / "mine.csv", target="fast", drop=["cyl"], numbers=["fast"]).class_names == []
    assert built(frame, tmp_path / "mine.csv", target="cyl", drop=["fast"]).class_names == []
    assert [line for line in logged() if "It holds 4 whole numbers, 4 to 8: no. datamodule.categories=[cyl]" in line]


def test_weights_count_in_the_training_loss_alone(tmp_path: Path) -> None:
    frame = table_of("midwest")
    data = built(frame, tmp_path / "mine.csv", target="percbelowpoverty", weights="poptotal")
    assert "poptotal" not in data.chosen.numbers
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [4, 3, 3]
    given = frame["poptotal"].astype(float).iloc[np.array(data.ids["train"]) - 2].to_numpy()
    np.testing.assert_allclose(data.splits["train"][3], given / given.mean(), rtol=1e-5)
    plain = built(frame, tmp_path / "mine.csv", target="percbelowpoverty", drop=["poptotal"])
    assert data.trained_on().tolist() == plain.trained_on().tolist()
    frame.loc[9, "poptotal"] = "-1"
    with pytest.raises(RefusedError, match=r"datamodule.weights=poptotal: .*row 9: expected a number of at least 0"):
        built(frame, tmp_path / "mine.csv", target="percbelowpoverty", weights="poptotal")


def test_a_weight_of_two_is_a_row_that_is_there_twice() -> None:
    logits, classes = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    number, two = NumberTarget(0.0, 1.0), torch.tensor([2.0, 1.0, 0.0, 1.0])
    twice = torch.tensor([0, 0, 1, 3])
    targets = torch.stack([logits[:, 1], torch.zeros(4)], 1)
    of_classes = ClassTarget([*"abc"], Decision(None, None, 3))
    for target, predictions, true in ((of_classes, logits, classes), (number, logits[:, 0].double(), targets)):
        assert target.loss(predictions, true, two) == pytest.approx(target.loss(predictions[twice], true[twice]).item())


def test_a_column_names_the_splits_and_the_log_says_so(economics: pd.DataFrame, tmp_path: Path) -> None:
    words = np.array(["Training", "train", "valid", "TEST"])[np.arange(len(economics)) % 4]
    data = built(economics.assign(part=words), tmp_path / "mine.csv", target="unemploy", split="part", test_fraction=0)
    assert not any("part" in name for name in (*data.chosen.numbers, *data.chosen.categories))
    for split, places in {"train": (0, 1), "val": (2,), "test": (3,)}.items():
        assert {(row - 2) % 4 for row in data.ids[split]} == {*places}
    assert data.describe().endswith("rows: 288 train, 143 val, 143 test (column 'part')")
    two = economics.assign(part=np.where(words == "TEST", "test", "train"))
    data = built(two, tmp_path / "mine.csv", target="unemploy", split="part")
    assert (len(data.ids["test"]), "column 'part'; val cut from train at random" in data.describe()) == (143, True)
    two.loc[7, "part"] = "later"
    with pytest.raises(RefusedError, match=r"datamodule.split=part: .*row 7: 'later' is no split; expected train, val"):
        built(two, tmp_path / "mine.csv", target="unemploy", split="part")


def test_the_latest_rows_test_and_no_time_is_divided(economics: pd.DataFrame, tmp_path: Path) -> None:
    shuffled = economics.sample(frac=1, random_state=0)
    twice = pd.concat([shuffled, shuffled.iloc[::-1]], ignore_index=True)
    data = built(twice, tmp_path / "mine.csv", target="unemploy", time="date")
    spans = [twice["date"].iloc[np.array(data.ids[split]) - 2] for split in ("train", "val", "test")]
    assert spans[0].max() < spans[1].min()
    assert spans[1].max() < spans[2].min()
    assert [len(span) for span in spans] == pytest.approx([804, 115, 229], abs=2)
    assert "in order of 'date'" in data.describe()
    assert "date: days" not in data.chosen.numbers  # the test rows would all be beyond it
    folds = [built(twice, tmp_path / "mine.csv", target="unemploy", time="date", folds=3, fold=k) for k in (1, 2, 3)]
    assert [fold.ids["test"] for fold in folds] == [data.ids["test"]] * 3
    assert len(folds[0].ids["train"]) < len(folds[1].ids["train"]) < len(folds[2].ids["train"])
    with pytest.raises(RefusedError, match=r"datamodule.time=date: divides the rows, and so does datamodule.groups"):
        built(twice, tmp_path / "mine.csv", target="unemploy", time="date", groups="pce")


def test_another_file_tests_whole(economics: pd.DataFrame, tmp_path: Path) -> None:
    later = economics.iloc[400:].iloc[:, ::-1]
    write_table(later, tmp_path / "later.csv")
    data = built(
        economics.iloc[:400], tmp_path / "mine.csv", target="unemploy", test=tmp_path / "later.csv", test_fraction=0
    )
    assert data.ids["test"] == list(range(2, 176))
    assert sorted([*data.ids["train"], *data.ids["val"]]) == list(range(2, 402))
    assert f"test from {tmp_path / 'later.csv'}" in data.describe()
    assert numbers_of(data, "test")["pop"].tolist() == later["pop"].astype(float).tolist()
    assert data.statistics["numbers"]["pop"]["edges"][-1] < later["pop"].astype(float).min()
    write_table(later.drop(columns="pop"), tmp_path / "later.csv")
    with pytest.raises(RefusedError, match=r"datamodule.test: .* has no column 'pop'"):
        built(economics, tmp_path / "mine.csv", target="unemploy", test=tmp_path / "later.csv")
    with pytest.raises(RefusedError, match=r"datamodule.test_fraction=0.0: no row would test"):
        built(economics, tmp_path / "mine.csv", target="unemploy", test_fraction=0.0)


def test_a_model_of_dates_is_trained_evaluated_and_predicts(
    economics: pd.DataFrame, command: Command, tmp_path: Path
) -> None:
    write_table(economics.iloc[:500], tmp_path / "mine.csv")
    write_table(economics.iloc[500:], tmp_path / "later.csv")
    status, output = command(
        "train.py", "name=dates", "datamodule=table", f"datamodule.root={tmp_path / 'mine.csv'}",
        f"datamodule.test={tmp_path / 'later.csv'}", "datamodule.test_fraction=0", "datamodule.target=uempmed",
        "trainer.max_epochs=2", "trainer.accelerator=cpu", "callbacks=[default]", "datamodule.weights=pop",
    )  # fmt: skip
    assert status == 0, output
    assert "74 test" in output
    status, output = command("evaluate.py", "run=runs/dates")
    assert status == 0, output
    tested = json.loads((command.folder / "runs" / "dates" / "metrics.json").read_text())["test"]
    assert f"{tested['mae']:.4g}"[:4] in output
    status, output = command("predict.py", "run=runs/dates", f"input={tmp_path / 'later.csv'}", "output=new.csv")
    assert status == 0, output
    predicted = read_table(command.folder / "new.csv")
    mae = (predicted["prediction"].astype(float) - predicted["uempmed"].astype(float)).abs().mean()
    assert mae == pytest.approx(tested["mae"], rel=1e-4)
    status, output = command("evaluate.py", "run=runs/dates", f"datamodule.root={tmp_path / 'later.csv'}")
    assert status == 0, output
    assert "of 74 rows" in output


def test_the_fingerprint_of_a_large_table_is_of_names_sizes_and_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.csv"
    DiamondsDataModule().load_table().frame.iloc[::100].to_csv(path, index=False)

    def made(**options: Any) -> TableDataModule:
        data = TableDataModule(root=path, target="price", **options)
        data.setup("fit")
        return data

    small = made()
    os.utime(path, (1, 1))
    assert (small.fingerprint_of, small.fingerprint()) == ("content", made().fingerprint())
    monkeypatch.setattr(table, "MAX_HASHED", 1000)
    large = made().fingerprint()
    assert made().fingerprint_of == "names, sizes and times of files"
    assert large == made().fingerprint()
    assert len({large, small.fingerprint(), made(split_seed=1).fingerprint(), made(drop=["x"]).fingerprint()}) == 3
    os.utime(path, (2, 2))
    assert made().fingerprint() != large
