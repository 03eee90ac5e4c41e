"""Evaluation on other series: training data is recognised by time and value; the rest is tested."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from starter import real_counts

from {{ cookiecutter.package_name }}.datamodules.series import SeriesDataModule

SIZES = {"context": 48, "horizon": 24}


def series(frame: pd.DataFrame, path: Path, whole: bool = True, **options: Any) -> SeriesDataModule:
    frame.to_csv(path, index=False)
    data = SeriesDataModule(root=path, **SIZES, **options)
    if whole:
        data.take_whole()
    data.setup("test")
    return data


def test_windows_whose_target_was_trained_on_are_known_again(tmp_path: Path) -> None:
    frame = real_counts(60)
    own = series(frame, tmp_path / "own.csv", whole=False)
    keys = own.trained_on()
    assert not own.is_seen(keys).any()
    longer = series(real_counts(80, first="2023-01-25"), tmp_path / "longer.csv")  # begins earlier and ends later
    end = frame["time"].iloc[round(0.85 * len(frame))]
    first = frame["time"].iloc[0]
    times = [longer.window_times("test", number)[SIZES["context"] :] for number in range(len(longer.splits["test"][0]))]
    assert len(times) == 80 * 24 - 48 - 24 + 1
    expected = np.array([bool(((each >= first) & (each < end)).any()) for each in times])
    assert 0 < expected.sum() < len(expected)
    differ = np.flatnonzero(longer.is_seen(keys) != expected)  # by at most a block, at either end of the training data
    near = [min(abs(times[number][-1] - first), abs(times[number][0] - end)) for number in differ]
    assert all(each < pd.Timedelta(hours=8) for each in near)


def test_other_places_at_the_same_time_are_others(tmp_path: Path) -> None:
    """Nights of zeros, and single values that are equal, do not count as training data."""
    other = real_counts(60, "150 K Road")
    other.loc[other["time"].dt.hour < 8, "value"] = 0.0
    quiet = real_counts(60)
    quiet.loc[quiet["time"].dt.hour < 8, "value"] = 0.0
    keys = series(quiet, tmp_path / "own.csv", whole=False).trained_on()
    assert not series(other, tmp_path / "other.csv").is_seen(keys).any()


@pytest.mark.parametrize("wide", [False, True])
def test_other_series_are_tested_whole_without_a_column_of_splits_too(wide: bool, tmp_path: Path) -> None:
    later = real_counts(60, first="2023-06-01")
    for frame in (later, later.assign(part="test")):
        data = series(frame, tmp_path / "later.csv", split="part", wide=wide)
        assert (len(data.panel.names), len(data.splits["test"][0])) == (1, 60 * 24 - 48 - 24 + 1)
