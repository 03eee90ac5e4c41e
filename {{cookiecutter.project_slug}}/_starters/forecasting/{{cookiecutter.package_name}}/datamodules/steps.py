"""Time steps of a series: a fixed duration, calendar months or weekdays. Converts between times and step numbers."""

from typing import NamedTuple

import numpy as np
import pandas as pd

DAY = 86_400_000_000_000  # nanoseconds
UNITS = {"D": DAY, "h": DAY // 24, "min": DAY // 1440, "s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
# Days between values that are a month, a quarter, half a year or a year apart, by number of months.
MONTHS = {1: range(28, 32), 3: range(89, 93), 6: range(181, 185), 12: range(365, 367)}
FIRST_MONDAY = np.datetime64("1600-01-03")  # before all times that are accepted


class Step(NamedTuple):
    """`length` in nanoseconds, or in months if `calendar` is true; `anchor` is a time on the grid.

    If some weekdays never occur, `weekdays` is numpy's weekmask of those that do: 1111100 for business days. Steps are
    counted from a fixed date, so that a season begins at the same time of the day, week or year in every file.
    """

    length: int
    calendar: bool
    anchor: pd.Timestamp
    weekdays: str = ""

    @property
    def name(self) -> str:
        """Return the frequency as pandas writes it: h, 15min, D, B, 7D, MS, 3MS; D[1111110] for other weekdays."""
        if self.weekdays:
            return "B" if self.weekdays == "1111100" else f"D[{self.weekdays}]"
        if self.calendar:
            return "MS" if self.length == 1 else f"{self.length}MS"
        for unit, length in UNITS.items():
            if self.length % length == 0:
                return unit if self.length == length else f"{self.length // length}{unit}"
        raise AssertionError("unreachable: 1 ns divides each length")

    @property
    def seasons(self) -> list[int]:
        """Return the steps per day and per week, or else per year; shortest first, [1] if there is no season."""
        if self.calendar:
            lengths = [12 // self.length]
        elif self.weekdays:
            lengths = [self.weekdays.count("1")]
        elif self.length == 7 * DAY:
            lengths = [52]
        else:
            lengths = [whole // self.length for whole in (DAY, 7 * DAY) if whole % self.length == 0]
        return [length for length in lengths if length > 1] or [1]

    def number(self, times: pd.DatetimeIndex) -> np.ndarray:
        """Return the step numbers (N,), integers, of `times` (N,); counted from 1970, or from 1600 for weekdays."""
        if self.weekdays:
            return np.busday_count(FIRST_MONDAY, days(times), self.weekdays).astype(np.int64)
        if self.calendar:
            return ((times.year - 1970) * 12 + times.month - 1).to_numpy(np.int64) // self.length
        return nanoseconds(times) // self.length

    def times(self, numbers: np.ndarray) -> pd.DatetimeIndex:
        """Return the times of step numbers (N,): the inverse of `number`."""
        since = numbers - self.number(pd.DatetimeIndex([self.anchor]))[0]
        if self.weekdays:
            day = days(pd.DatetimeIndex([self.anchor]))[0]
            dates = np.busday_offset(day, since, weekmask=self.weekdays)
            return pd.DatetimeIndex(dates.astype("datetime64[ns]")) + (self.anchor - self.anchor.normalize())
        if self.calendar:  # the 31st becomes the last day of each month
            return pd.DatetimeIndex([self.anchor + pd.DateOffset(months=int(each) * self.length) for each in since])
        return self.anchor + pd.to_timedelta(since * self.length, unit="ns")


def infer_step(times: pd.DatetimeIndex, same_series: np.ndarray) -> Step | None:
    """Infer the step: the most frequent distance between neighbours in `times` (N,); None if no two share a series.

    `same_series` (N - 1,) is True for neighbours of one series. Times ascend within a series.
    """
    distances = np.diff(nanoseconds(times))[same_series]
    if not len(distances):
        return None
    different, counts = np.unique(distances, return_counts=True)
    common = int(different[counts.argmax()])
    if common % DAY == 0 and (distances % common).any():
        for months, days in MONTHS.items():
            if common // DAY in days:
                return Step(months, True, times[int(np.argmax(times.day))])
    return Step(common, False, times[0], days_of_the_week(times) if common == DAY and (distances > DAY).any() else "")


def days_of_the_week(times: pd.DatetimeIndex) -> str:
    """Return the weekdays that occur, as numpy's weekmask; empty if all do, or within less than two weeks."""
    occur = "".join("1" if there else "0" for there in np.bincount(times.day_of_week, minlength=7))
    return "" if "0" not in occur or times.max() - times.min() < pd.Timedelta(days=14) else occur


def days(times: pd.DatetimeIndex) -> np.ndarray:
    """Convert times (N,) to dates (N,)."""
    return times.to_numpy("datetime64[D]")


def nanoseconds(times: pd.DatetimeIndex) -> np.ndarray:
    """Convert times (N,) to nanoseconds since 1970 (N,); pandas may store other units."""
    return times.to_numpy("datetime64[ns]").astype(np.int64)
