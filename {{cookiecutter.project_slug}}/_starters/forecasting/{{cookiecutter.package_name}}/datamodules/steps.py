"""The step of a series: a fixed time, calendar months, or days of the week. Counts steps, and tells their times."""

from typing import NamedTuple

import numpy as np
import pandas as pd

DAY = 86_400_000_000_000  # nanoseconds
UNITS = {"D": DAY, "h": DAY // 24, "min": DAY // 1440, "s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
# Days that lie between values a month, a quarter, half a year or a year apart, and how many months that is.
MONTHS = {1: range(28, 32), 3: range(89, 93), 6: range(181, 185), 12: range(365, 367)}
FIRST_MONDAY = np.datetime64("1600-01-03")  # before all times that are read


class Step(NamedTuple):
    """`length` in nanoseconds, or in calendar months where `calendar`; `anchor` is a time that it meets.

    Where a series has days of the week that never occur, `weekdays` says which do, as numpy's weekmask: 1111100 of
    business days. Steps are counted from a fixed day on, so that a season begins at the same place of the day, week or
    year in any file.
    """

    length: int
    calendar: bool
    anchor: pd.Timestamp
    weekdays: str = ""

    @property
    def name(self) -> str:
        """As pandas writes a frequency: h, 15min, D, B, 7D, MS, 3MS; D[1111110] of other days of the week."""
        if self.weekdays:
            return "B" if self.weekdays == "1111100" else f"D[{self.weekdays}]"
        if self.calendar:
            return "MS" if self.length == 1 else f"{self.length}MS"
        for unit, length in UNITS.items():
            if self.length % length == 0:
                return unit if self.length == length else f"{self.length // length}{unit}"
        raise AssertionError("a nanosecond divides each length")

    @property
    def seasons(self) -> list[int]:
        """How many steps a day and a week, or else a year, take; shortest first, [1] where there is no season."""
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
        """Which step since 1970 (of days of the week since 1600) each of the times (N,) lies in: whole numbers (N,)."""
        if self.weekdays:
            return np.busday_count(FIRST_MONDAY, days(times), self.weekdays).astype(np.int64)
        if self.calendar:
            return ((times.year - 1970) * 12 + times.month - 1).to_numpy(np.int64) // self.length
        return nanoseconds(times) // self.length

    def times(self, numbers: np.ndarray) -> pd.DatetimeIndex:
        """The time of each step: the inverse of `number`."""
        since = numbers - self.number(pd.DatetimeIndex([self.anchor]))[0]
        if self.weekdays:
            day = days(pd.DatetimeIndex([self.anchor]))[0]
            dates = np.busday_offset(day, since, weekmask=self.weekdays)
            return pd.DatetimeIndex(dates.astype("datetime64[ns]")) + (self.anchor - self.anchor.normalize())
        if self.calendar:  # the 31st becomes the last day of each month
            return pd.DatetimeIndex([self.anchor + pd.DateOffset(months=int(each) * self.length) for each in since])
        return self.anchor + pd.to_timedelta(since * self.length, unit="ns")


def infer_step(times: pd.DatetimeIndex, same_series: np.ndarray) -> Step | None:
    """The distance that neighbours of `times` (N,) have most often; None where no two are of one series.

    `same_series` (N - 1,) says which neighbours are. Times ascend within a series.
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
    """Those that occur, as numpy's weekmask; empty where all do, or where the times span less than two weeks."""
    occur = "".join("1" if there else "0" for there in np.bincount(times.day_of_week, minlength=7))
    return "" if "0" not in occur or times.max() - times.min() < pd.Timedelta(days=14) else occur


def days(times: pd.DatetimeIndex) -> np.ndarray:
    """The day of each time (N,)."""
    return times.to_numpy("datetime64[D]")


def nanoseconds(times: pd.DatetimeIndex) -> np.ndarray:
    """Since 1970 (N,); pandas keeps times in other units too."""
    return times.to_numpy("datetime64[ns]").astype(np.int64)
