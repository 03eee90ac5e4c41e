"""Read a column of times, and write times in the same way: format, zone, or Unix time."""

import re
from datetime import tzinfo
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..engine import RefusedError, refusal
from .steps import UNITS, nanoseconds
from .table_values import texts

ZONE_PATTERN = r"(Z|[+-]\d\d(?::?\d\d)?)"  # as in ISO 8601
ISO_PATTERN = re.compile(rf"(\d\d\d\d)(-\d+)?(-\d+)?(?:([T ])(\d\d)(:\d\d)?(:\d\d)?(\.\d+)?)?(\s?){ZONE_PATTERN}?")
QUARTER_PATTERN = r"^(\d{4})(-?Q)([1-4])$"
# Least magnitude of a Unix time by unit: 1e8 s is in 1973, and so is 1e11 ms.
MIN_UNIX = {"s": 1e8, "ms": 1e11, "us": 1e14, "ns": 1e17}
COMPACT_FORMATS = {10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}  # dates that look like Unix times, by length
DATE_FORMATS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y%m")  # dates that are not ISO 8601
TIME_FORMATS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


class Clock(NamedTuple):
    """Form in which a table writes its times, so that forecasts are written likewise.

    Texts have a strftime `form`, in which %z stands for `zones` (S,), the zone of each series' last time. Numbers have
    the `unit` of Unix time. A column of type datetime has neither, but may have a `zone`. Steps are counted in UTC, or
    if `local`, by the local calendar, so that days and months begin at local midnight.
    """

    form: str | None = None
    unit: str | None = None
    zone: tzinfo | None = None
    zones: tuple[str, ...] = ()
    local: bool = False

    @property
    def zoned(self) -> bool:
        """Return True if the times state their zone; Unix times are UTC."""
        return self.unit is not None or self.zone is not None or bool(self.zones)

    def here(self, times: pd.DatetimeIndex, row: int) -> pd.DatetimeIndex:
        """Convert times (N,) of series `row` to local times without a zone."""
        if self.local or not self.zoned or self.unit:
            return times
        if self.zone is not None:
            return times.tz_localize("UTC").tz_convert(self.zone).tz_localize(None)
        return times + pd.Timedelta(minutes=minutes(self.zones[row]))

    def written(self, times: pd.DatetimeIndex, row: int) -> Any:
        """Convert times (N,) of series `row` to what the table would hold."""
        if self.unit:
            whole, rest = np.divmod(nanoseconds(times), UNITS[self.unit])
            return whole + rest / UNITS[self.unit] if rest.any() else whole
        if self.zone is not None and self.local:
            return times.tz_localize(self.zone, ambiguous=np.zeros(len(times), bool), nonexistent="shift_forward")
        if self.zone is not None:
            return times.tz_localize("UTC").tz_convert(self.zone)
        if self.form is None:
            return times
        zone = self.zones[row] if self.zones else ""
        return [strftime(time, self.form.replace("%z", zone)) for time in self.here(times, row)]


def strftime(time: pd.Timestamp, form: str) -> str:
    """Format by Timestamp.strftime, where %3f, %6f and %9f are digits of the second's fraction, %q the quarter."""
    fraction = f"{time.microsecond * 1000 + time.nanosecond:09d}"
    form = re.sub(r"%(\d)f", lambda digits: fraction[: int(digits[1])], form)
    return time.strftime(form.replace("%q", str(time.quarter)))


class Times(NamedTuple):
    """Times (N,) without a zone, in which steps are counted; the zone that each states (N,), or None; their clock."""

    at: pd.DatetimeIndex
    zones: np.ndarray | None
    clock: Clock


def read_times(frame: pd.DataFrame, column: str, time_format: str | None, path: Path) -> Times:
    """Read a column of times. Raises RefusedError, with file, row and column, if one can't be read."""
    raw = frame[column]
    if raw.dtype.kind == "M":
        check_times(raw, raw, frame, column, path, "")
        return typed_times(pd.DatetimeIndex(raw))
    raw = texts(frame, column)
    if time_format is None and (unit := unix_unit(raw, column)):
        return unix_times(frame, column, path, unit)
    form, text = time_format or "ISO8601", raw.astype("string")
    quarters = None
    if time_format is None:
        text, quarters = in_iso(text)
    elif "%Z" in time_format:
        raise refusal("datamodule.time_format", form, "names of zones are ambiguous; expected offsets, as %z")
    try:
        times = pd.to_datetime(text, errors="coerce", format=form, utc=True)
    except ValueError as error:
        why = f"is not a strftime format ({error}); Unix times are read with datamodule.time_format=null"
        raise refusal("datamodule.time_format", form, why) from error
    example = f"as {time_format}" if time_format else "such as 2026-01-31 13:00"
    if not time_format and times.isna().any():
        example += other_format(raw)
    check_times(times, raw, frame, column, path, example)
    zones = zones_of(text, time_format)
    if zones is not None and (unnamed := pd.isna(zones)).any():
        why = f"{raw[unnamed].iloc[0]!r} names no zone, others do ({raw[~unnamed].iloc[0]!r})"
        raise refused(frame, path, unnamed, column, f"{why}; expected a zone in all or none")
    longest = str(text[text.str.len().idxmax()])
    clock = Clock(quarters or time_format or iso_form(longest))
    index = pd.DatetimeIndex(times).tz_convert(None)
    if zones is None:
        return Times(index, None, clock)
    offsets = pd.Series(zones).map({zone: minutes(zone) for zone in set(zones)}).to_numpy(np.int64)
    return local_where_dates(index, index + pd.to_timedelta(offsets, unit="min"), zones, clock)


def in_iso(text: pd.Series) -> tuple[pd.Series, str | None]:
    """Normalise texts (N,) to ISO 8601; also return the form if all are quarters, else None.

    2026.0 is a year that was stored as a number; 2026Q3 is a quarter and becomes its first month; UTC becomes Z.
    """
    text = text.str.replace(r"\s*UTC$", "Z", regex=True).str.replace(r"^(\d{4})\.0$", r"\1", regex=True)
    parts = text.str.extract(QUARTER_PATTERN, expand=True)
    month = (parts[2].astype("Int64") * 3 - 2).astype("string").str.zfill(2)
    form = f"%Y{parts[1].iloc[0]}%q" if parts[1].notna().all() else None
    return text.where(parts[0].isna(), parts[0] + "-" + month), form


def check_times(times: pd.Series, raw: pd.Series, frame: pd.DataFrame, column: str, path: Path, example: str) -> None:
    """Raises RefusedError for the first of `times` (N,) that could not be read from `raw` (N,)."""
    wrong = (times.isna() | ~times.dt.year.between(1700, 2200)).to_numpy()  # the range of nanoseconds, rounded
    if wrong.any():
        text = str(raw[wrong].iloc[0])[:40]
        why = "there is no time" if raw[wrong].isna().iloc[0] else f"{text!r} is not a time"
        raise refused(frame, path, wrong, column, f"{why}; expected one {example or 'from 1700 to 2200'}")


def typed_times(index: pd.DatetimeIndex) -> Times:
    """Read a datetime column, with or without a zone."""
    if index.tz is None:
        return Times(index, None, Clock())
    return local_where_dates(index.tz_convert(None), index.tz_localize(None), None, Clock(zone=index.tz))


def local_where_dates(utc: pd.DatetimeIndex, local: pd.DatetimeIndex, zones: np.ndarray | None, clock: Clock) -> Times:
    """Use UTC, or local time if all local times of day are equal: these are dates, which clock changes do not shift."""
    dates = (local - local.normalize()).nunique() == 1
    return Times(local if dates else utc, zones, clock._replace(local=bool(dates)))


def zones_of(raw: pd.Series, time_format: str | None) -> np.ndarray | None:
    """Extract the zone that each text (N,) states; None if none does."""
    if time_format is not None and "%z" not in time_format:
        return None
    pattern = ZONE_PATTERN if time_format else r"[T ]\d\d[^Z+-]*" + ZONE_PATTERN  # does not match the day in 2026-01-31
    zones = raw.str.extract(pattern + r"\s*$", expand=False).to_numpy(object)
    if time_format and pd.isna(zones).any():  # the zone is not at the end: written in UTC
        return np.full(len(raw), "+0000", object)
    return None if pd.isna(zones).all() else zones


def minutes(zone: str) -> int:
    """Return the offset from UTC in minutes of a zone such as Z, +13, +1300 or -03:30."""
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return 0 if zone == "Z" else (-1 if zone[0] == "-" else 1) * (int(digits[:2]) * 60 + int(digits[2:]))


def iso_form(text: str) -> str:
    """Return the strftime format of an ISO 8601 time; %3f and the like stand for the digits of the fraction."""
    if re.fullmatch(r"\d{8}", text):
        return "%Y%m%d"
    match = ISO_PATTERN.fullmatch(text)
    if match is None:
        return "%Y-%m-%d %H:%M:%S%z"
    _, month, day, between, hour, minute, second, fraction, space, zone = match.groups()
    parts = [(month, "-%m"), (day, "-%d"), (between, between), (hour, "%H"), (minute, ":%M"), (second, ":%S")]
    form = "%Y" + "".join(part for there, part in parts if there)
    form += f".%{len(fraction) - 1}f" if fraction else ""
    return f"{form}{space}%z" if zone else form


def unix_unit(raw: pd.Series, column: str) -> str | None:
    """Infer the unit of Unix times from their magnitude; None if most values are not Unix times.

    Raises RefusedError for dates written only in digits, such as 2026013113.
    """
    numbers = pd.to_numeric(raw, errors="coerce")
    if numbers.notna().mean() <= 0.5 or not (largest := numbers.abs().median()) >= MIN_UNIX["s"]:
        return None
    present = raw.dropna().astype("string")
    form = COMPACT_FORMATS.get(int(present.str.len().iloc[0]))
    if form and pd.to_datetime(present, format=form, errors="coerce").notna().all():
        why = f"{present.iloc[0]} in column {column!r} looks like a date, not like Unix time"
        raise refusal("datamodule.time_format", None, f"{why}; expected {form}")
    return [unit for unit, least in MIN_UNIX.items() if largest >= least][-1]


def unix_times(frame: pd.DataFrame, column: str, path: Path, unit: str) -> Times:
    """Read a column of Unix times."""
    raw = frame[column]
    numbers = pd.to_numeric(raw, errors="coerce")
    if numbers.dtype.kind == "f":  # float64 is exact for whole microseconds
        times = pd.to_datetime((numbers * (UNITS[unit] / 1000)).round(), unit="us", errors="coerce")
    else:
        times = pd.to_datetime(numbers, unit=unit, errors="coerce")
    check_times(times, raw, frame, column, path, f"as Unix time in {unit}, as most are")
    return Times(pd.DatetimeIndex(times), None, Clock(unit=unit))


def other_format(raw: pd.Series) -> str:
    """Suggest strftime formats that fit all of the texts."""
    sample = raw.dropna().astype("string").iloc[:1000]
    forms = [day + hour for day in DATE_FORMATS for hour in TIME_FORMATS]
    fitting = [form for form in forms if pd.to_datetime(sample, format=form, errors="coerce").notna().all()]
    quoted = " or ".join(f'datamodule.time_format="{form}"' for form in fitting[:2])
    return f"; here {quoted}" if quoted else ", or its datamodule.time_format"


def refused(frame: pd.DataFrame, path: Path, wrong: np.ndarray, column: str, why: str) -> RefusedError:
    """Return the error for the first row that is `wrong` (N,)."""
    return RefusedError(f"{path}, row {frame.index[int(np.argmax(wrong))]}, column {column!r}: {why}")


def zone_difference(zoned: bool) -> str:
    """Describe how times with a zone (`zoned`), or without, differ from those of the training."""
    one, other = ("name", "do not") if zoned else ("do not name", "do")
    return f"its times {one} a zone, those of the training {other}"
