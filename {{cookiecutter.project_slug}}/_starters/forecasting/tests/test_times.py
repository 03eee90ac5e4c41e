"""Forecasts write times as the input file does; ambiguous times are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from {{ cookiecutter.package_name }}.datamodules.series import SeriesDataModule
from {{ cookiecutter.package_name }}.engine.errors import RefusedError

Texts = Callable[[pd.DatetimeIndex], Any]
HORIZON = 4


def forecast(path: Path, frame: pd.DataFrame, step: str, context: int = 16, **arguments: Any) -> pd.DataFrame:
    """Output of predict.py for a file with the rows of `frame`, from a model that predicts the mean."""
    write = frame.to_parquet if path.suffix == ".parquet" else frame.to_csv
    write(path, index=False)
    data = SeriesDataModule(path, **arguments)
    model = {"step": step, "context": context, "horizon": HORIZON, "seasons": [1], "least": None, "zoned": False}
    data.read_inputs(str(path), model)
    out = path.with_name(f"out{path.suffix}")
    data.write_predictions([torch.zeros(len(data.to_forecast), HORIZON, 1)], out, {**model, "quantiles": [0.5]})
    return pd.read_parquet(out) if path.suffix == ".parquet" else pd.read_csv(out, dtype={"time": str})


def unix(unit: Any) -> Texts:
    return lambda times: (times - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(1, unit)


def text(form: str) -> Texts:
    return lambda times: times.strftime(form)


ISO = "%Y-%m-%dT%H:%M:%S%z"
# Frequency, zone, pandas' name of the step, text format, arguments of the datamodule.
WRITTEN: dict[str, tuple[str, str | None, str, Texts, dict[str, Any]]] = {
    "no zone": ("h", None, "h", text("%Y-%m-%d %H:%M:%S"), {}),
    "no seconds": ("15min", None, "15min", text("%Y-%m-%dT%H:%M"), {}),
    "milliseconds": ("250ms", None, "250ms", lambda times: [t.isoformat(timespec="milliseconds") for t in times], {}),
    "Z": ("h", "UTC", "h", text("%Y-%m-%dT%H:%M:%SZ"), {}),
    "ahead": ("h", "+13:00", "h", lambda times: [t.isoformat() for t in times], {}),
    "behind, half an hour": ("h", "-03:30", "h", text(ISO), {}),
    "days of a place": ("D", "+13:00", "D", lambda times: [t.isoformat() for t in times], {}),
    "months of a place": ("MS", "+13:00", "MS", lambda times: [t.isoformat() for t in times], {}),
    "seconds": ("h", "UTC", "h", unix("s"), {}),
    "ms": ("min", "UTC", "min", unix("ms"), {}),
    "us": ("h", "UTC", "h", unix("us"), {}),
    "ns": ("h", "UTC", "h", unix("ns"), {}),
    "floats": ("h", "UTC", "h", lambda times: unix("s")(times).astype(float), {}),
    "days": ("D", None, "D", text("%Y-%m-%d"), {}),
    "business days": ("B", None, "B", text("%Y-%m-%d"), {}),
    "months": ("MS", None, "MS", text("%Y-%m"), {}),
    "quarters": ("QS", None, "3MS", lambda times: [f"{t.year}Q{t.quarter}" for t in times], {}),
    "years": ("YS", None, "12MS", text("%Y"), {}),
    "a format": ("h", None, "h", text("%d/%m/%Y %H:%M"), {"time_format": "%d/%m/%Y %H:%M"}),
    "a format with a zone": ("h", "+05:30", "h", text("%d.%m.%Y %H:%M %z"), {"time_format": "%d.%m.%Y %H:%M %z"}),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_forecasts_follow_the_history_and_are_written_as_it_is(kind: str, tmp_path: Path) -> None:
    frequency, zone, step, write, arguments = WRITTEN[kind]
    times = pd.date_range("2024-01-01", periods=40 + HORIZON, freq=frequency, tz=zone)
    written = pd.Series(write(times))
    rows = pd.DataFrame({"time": written[:40], "value": np.arange(40.0)})
    made = forecast(tmp_path / "mine.csv", rows, step, **arguments)
    expected = written[40:].map(lambda each: f"{each:.0f}" if isinstance(each, float) else str(each))
    assert made["time"].tolist() == expected.tolist()
    assert made["q0.5"].tolist() == [np.arange(24.0, 40).mean()] * HORIZON  # the offset, to which zeros are added


def test_years_that_were_numbers_are_years(tmp_path: Path) -> None:
    rows = pd.DataFrame({"time": np.arange(1871.0, 1911), "value": np.arange(40.0)})
    assert forecast(tmp_path / "mine.csv", rows, "12MS")["time"].tolist() == ["1911", "1912", "1913", "1914"]
    assert forecast(tmp_path / "mine.parquet", rows, "12MS")["time"].tolist() == [1911, 1912, 1913, 1914]


@pytest.mark.parametrize("day", ["2024-03-30", "2024-10-26"])
def test_hours_across_a_change_of_the_clock_are_counted_in_utc(day: str, tmp_path: Path) -> None:
    times = pd.date_range(day, periods=40 + HORIZON, freq="h", tz="Europe/Berlin")
    assert len({time.utcoffset() for time in times[:40]}) == 2
    rows = pd.DataFrame({"time": [time.isoformat() for time in times[:40]], "value": np.arange(40.0)})
    made = forecast(tmp_path / "mine.csv", rows, "h")["time"]
    assert made.tolist() == [time.isoformat() for time in times[40:]]


def test_days_across_a_change_of_the_clock_are_days_of_the_place(tmp_path: Path) -> None:
    times = pd.date_range("2024-03-01", periods=40 + HORIZON, freq="D", tz="Europe/Berlin")
    rows = pd.DataFrame({"time": [time.isoformat() for time in times[:40]], "value": np.arange(40.0)})
    assert forecast(tmp_path / "mine.csv", rows, "D")["time"].tolist() == [time.isoformat() for time in times[40:]]
    for zone in ("Europe/Berlin", "Asia/Tokyo"):
        times = pd.date_range("2024-03-01", periods=40 + HORIZON, freq="D", tz=zone)
        made = forecast(tmp_path / "mine.parquet", pd.DataFrame({"time": times[:40], "value": range(40)}), "D")
        assert list(made["time"]) == list(times[40:])


def test_each_series_gets_the_zone_of_its_own(tmp_path: Path) -> None:
    parts = []
    for zone in ("+13:00", "-05:00", "Z"):
        times = pd.date_range("2024-01-01", periods=40, freq="h", tz="UTC" if zone == "Z" else zone)
        written = [time.isoformat().replace("+00:00", "Z") for time in times]
        parts.append(pd.DataFrame({"time": written, "place": zone, "value": np.arange(40.0)}))
    made = forecast(tmp_path / "mine.csv", pd.concat(parts), "h", series="place")
    assert made.groupby("place", sort=False)["time"].first().tolist() == [
        "2024-01-02T16:00:00+13:00", "2024-01-02T16:00:00-05:00", "2024-01-02T16:00:00Z",
    ]  # fmt: skip


def hours(**columns: Any) -> pd.DataFrame:
    """Rows of 50 hours."""
    times = pd.date_range("2024-01-01", periods=50, freq="h").astype(str)
    return pd.DataFrame({"time": times, "value": np.arange(50.0)}).assign(**columns)


def of(form: str) -> dict[str, Any]:
    return {"time": pd.date_range("2024-01-01", periods=50, freq="h").strftime(form)}


PLACES = pd.concat([hours(place=place, warm=place, kind=kind) for place in "abc" for kind in "x"])
REFUSED: dict[str, tuple[pd.DataFrame, dict[str, Any], str]] = {
    "one zone missing": (
        hours(time=[*hours().time[:9] + "Z", *hours().time[9:]]), {},
        "row 11, column 'time': '2024-01-01 09:00:00' names no zone, others do ('2024-01-01 00:00:00Z')",
    ),
    "unix as a format": (
        hours(), {"time_format": "%s"}, "Unix times are read with datamodule.time_format=null",
    ),
    "names of zones": (hours(), {"time_format": "%Y %Z"}, "datamodule.time_format=%Y %Z: names of zones"),
    "a date without signs": (hours(**of("%Y%m%d%H")), {}, "looks like a date, not like Unix time; expected %Y%m%d%H"),
    "another format": (hours(**of("%d/%m/%Y %H:%M")), {}, 'here datamodule.time_format="%d/%m/%Y %H:%M"'),
    "numbers of rows": (hours(time=range(50)), {}, "row 2, column 'time': '0' is not a time"),
    "one Unix time is none": (
        hours(time=[*range(1_704_067_200, 1_704_067_200 + 49 * 3600, 3600), 12]), {"gaps": "skip"},
        "row 51, column 'time': 12 comes after 1704240000",
    ),
    "seconds and milliseconds": (
        hours(time=[*range(1_704_067_200, 1_704_067_200 + 49 * 3600, 3600), 1_704_243_600_000]), {},
        "row 51, column 'time': '1704243600000' is not a time; expected one as Unix time in s",
    ),
    "a forgotten series": (
        PLACES, {}, "datamodule.series=null: ",
    ),
    "series in other columns": (
        pd.concat([hours(a=a, b=b) for a in "xy" for b in "xy"]), {}, "no column of a, b tells its series apart",
    ),
    "a column for two": (hours(), {"series": "time"}, "datamodule.series=time: is also the column of times"),
    "no whole window": (
        hours().drop(index=range(5, 50, 8)), {"gaps": "skip", "context": 8},
        "no run of steps without a gap is longer than 7; expected interpolate",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_times_that_can_t_be_told_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    rows, arguments, message = REFUSED[kind]
    rows.to_csv(tmp_path / "mine.csv", index=False)
    options: dict[str, Any] = {"horizon": 2, "context": 16, "seasons": [2], **arguments}
    with pytest.raises(RefusedError) as refused:
        SeriesDataModule(tmp_path / "mine.csv", **options).setup("fit")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_forgotten_series_is_named_with_its_rows(tmp_path: Path) -> None:
    for rows in (PLACES, PLACES.sort_values("time", kind="stable")):
        rows.assign(number=range(len(rows))).to_csv(tmp_path / "mine.csv", index=False)
        with pytest.raises(
            RefusedError, match=r"up to 3 rows for each time \(2024-01-01 00:00:00 in rows 2, "
        ) as refused:
            SeriesDataModule(tmp_path / "mine.csv").setup("fit")
        assert str(refused.value).endswith("its series apart: datamodule.series=place or warm")


def test_days_and_hours_in_two_columns_are_no_series_for_sure(tmp_path: Path) -> None:
    times = pd.date_range("2024-01-01", periods=240, freq="h")
    rows = pd.DataFrame({"time": times.strftime("%Y-%m-%d"), "hour": times.hour, "value": range(240)})
    rows.to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(RefusedError, match=r"datamodule\.series=hour; or a column with the whole time$"):
        SeriesDataModule(tmp_path / "mine.csv").setup("fit")


def test_business_days_and_days_of_a_shop_have_no_gaps(tmp_path: Path) -> None:
    days = pd.date_range("2023-01-02", periods=400, freq="D")
    for there, seasons, step in (([0, 1, 2, 3, 4], [5], "B"), ([0, 1, 2, 3, 4, 5], [6], "D[1111110]")):
        kept = days[days.day_of_week.isin(there)]
        pd.DataFrame({"time": kept, "value": np.sin(range(len(kept)))}).to_csv(tmp_path / "mine.csv", index=False)
        for gaps in ("refuse", "skip", "interpolate"):
            data = SeriesDataModule(tmp_path / "mine.csv", gaps=gaps)
            data.setup("fit")
            assert (data.facts["step"], data.facts["seasons"]) == (step, seasons)
            assert data.panel.values.shape == (1, len(kept))
            assert not np.isnan(data.panel.values).any()
