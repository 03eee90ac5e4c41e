"""Columns of dates, times of day and ordered texts: their format, and the numbers and categories that replace them.

What is found in a column, its format and its parts, is one of the statistics that the model keeps (DateStatistics), so
that predict.py reads another table in the same way.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..engine import RefusedError, refusal
from ..models.features import DateStatistics, Statistics
from .table_values import MISSING, texts

# Days as strptime reads them. Formats that differ for most days come first; a column has to fit one of them.
DAY_FORMATS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y-%m", "%d.%m.%Y", "%m.%d.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y",
    "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%d %B %Y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y",
    "%B %d, %Y", "%b %d, %Y", "%B %d %Y", "%b %d %Y", "%B %Y", "%b %Y", "%A, %d %B %Y", "%A, %B %d, %Y",
)  # fmt: skip
CLOCK = "clock"  # the format of a column that holds times of day
EPOCHS = {"s": 1.0, "ms": 1e-3}  # formats of numbers: seconds or milliseconds since 1970
TIME_PATTERN = (
    r"^(?P<day>.*?)(?:(?:^|[T ]+)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:[.,]\d+)?))?"
    r" ?(?P<half>[AaPp]\.?[Mm]\.?)?)? ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)?$"
)
CLOCK_FORMAT_PATTERN = re.compile("[T ]*%[HIT]")  # where the clock begins in a format
DAY = 86_400.0  # seconds
MIN_ROWS_PER_DAY = 10  # with fewer, nothing can be learnt of a single day
MAX_DAYS = 1000
MAX_PAIRS = 3  # columns of dates between which the elapsed time is taken
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def date_format(column: pd.Series, path: Path) -> str:
    """Infer the format of a column of dates: one of DAY_FORMATS, or CLOCK.

    Raises RefusedError if none fits, or if two do and differ, as for 3/4/2024.
    """
    values = _split(column)
    days = values["day"].dropna().unique()
    if not len(days):
        return CLOCK
    fitting = {form: stamps for form in DAY_FORMATS if (stamps := _days(days, form)).notna().any()}
    if not fitting:
        why = f"{path}, column {column.name!r} holds dates such as {days[0]!r}, in a format that is not known"
        raise RefusedError(f"{why}; {date_option(column.name, '%d %b %Y')}, say, or datamodule.drop=[…]")
    most = max(stamps.notna().sum() for stamps in fitting.values())
    best = {form: stamps for form, stamps in fitting.items() if stamps.notna().sum() == most}
    (form, stamps), *others = best.items()
    for other, also in others:
        if not stamps.equals(also):
            day = days[int((stamps != also).argmax())]
            why = f"{path}, column {column.name!r}: {day!r} is {form} or {other}"
            raise RefusedError(f"{why}; expected {date_option(column.name, form)}, say")
    return form


def seconds(column: pd.Series, form: str, path: Path, advice: str = "") -> np.ndarray:
    """Return the seconds (N,) since 1970, or since midnight for CLOCK, by the clock on the wall; NaN where missing.

    Raises RefusedError, which ends in `advice`, if a value is not a date.
    """
    if column.dtype.kind == "M":
        naive = column.dt.tz_localize(None) if column.dt.tz is not None else column
        stamps = naive.to_numpy().astype("datetime64[ms]")
        return np.where(np.isnat(stamps), np.nan, stamps.astype(np.float64) / 1e3)
    places, known = pd.factorize(texts(column.to_frame(), str(column.name)))
    if form in EPOCHS:
        values = pd.to_numeric(pd.Series(known), errors="coerce").to_numpy(np.float64) * EPOCHS[form]
    else:
        parts = _split(pd.Series(known, name=column.name, dtype=object))
        values = parts["clock"].to_numpy(np.float64)
        if form == CLOCK:
            values = np.where(parts["day"].notna(), np.nan, values)
        else:
            days = _days(parts["day"].fillna("").to_numpy(), form)
            values = np.nan_to_num(values) + np.where(days.isna(), np.nan, _since_1970(days))
    wrong = np.isnan(values) & ~np.isin(np.asarray(known, dtype=object), MISSING)
    if wrong.any():
        row = column.index[int(np.isin(places, np.flatnonzero(wrong)).argmax())]
        expected = "a time of day" if form == CLOCK else f"a date as {form}"
        text = str(column[row])[:40]
        raise RefusedError(f"{path}, row {row}, column {column.name!r}: {text!r} is not {expected}{advice}")
    return np.append(values, np.nan)[places]


def _since_1970(days: pd.Series) -> np.ndarray:
    return days.to_numpy().astype("datetime64[s]").astype(np.float64)


def _split(column: pd.Series) -> pd.DataFrame:
    """Split dates into `day`, a text, and `clock`, the seconds since midnight; NaN where a part is missing."""
    values = texts(column.to_frame(), str(column.name)) if column.name is not None else column
    values = values.where(~values.isin(MISSING))
    parts = values.astype(object).astype("str").where(values.notna()).str.extract(TIME_PATTERN)
    hour, minute, second = (
        pd.to_numeric(parts[name].str.replace(",", "."), errors="coerce") for name in ("hour", "minute", "second")
    )
    half = parts["half"].str[0].str.lower()
    hour = (hour % 12 + 12 * (half == "p")).where(half.notna(), hour)
    clock = (hour * 3600 + minute * 60 + second.fillna(0.0)).where((hour < 25) & (minute < 60))
    return pd.DataFrame({"day": parts["day"].str.strip().replace("", np.nan), "clock": clock})


def _days(days: np.ndarray, form: str) -> pd.Series:
    """Read the days (N,), without the clock if _split has cut it off. Raises RefusedError for a bad format."""
    column = pd.Series(days, dtype=object)
    stamps = pd.Series(pd.NaT, column.index)
    for each in dict.fromkeys((form, CLOCK_FORMAT_PATTERN.split(form)[0] or form)):
        try:
            stamps = pd.Series(pd.to_datetime(column, format=each, errors="coerce"))
        except (ValueError, re.error) as error:
            why = f"is no format of dates ({error}); expected one such as %d/%m/%Y %H:%M"
            raise refusal("datamodule.dates", form, why) from error
        if stamps.notna().any():
            break
    return stamps


def date_statistics(frame: pd.DataFrame, form: str, name: str, path: Path, later: bool) -> DateStatistics:
    """Choose the parts of a column of dates that say something about its rows.

    With `later`, predictions are asked of later rows than those trained on: parts that only grow are left out.
    """
    known = seconds(frame[name], form, path)
    known = known[~np.isnan(known)]
    parts = [] if form == CLOCK else ["weekday", "day of month", "day of year"]
    days = np.unique(known // DAY)
    if form != CLOCK and not later:
        parts.append("days")
        if len(days) <= MAX_DAYS and len(known) >= MIN_ROWS_PER_DAY * len(days):
            parts.append("date")
    if form == CLOCK or (known % DAY).any():
        parts.append("hour")
    shown = {part: len(np.unique(values_of(part, known))) > 1 for part in parts}
    return {"format": form, "parts": [part for part in parts if shown[part]]}


def values_of(part: str, stamps: np.ndarray) -> np.ndarray:
    """Return a part (N,) of times in seconds (N,) since 1970: numbers, NaN where missing, or texts."""
    days = np.floor(stamps / DAY)
    if part == "days":
        return stamps / DAY
    if part == "hour":
        return stamps % DAY / 3600
    missing = np.isnan(stamps)
    dates = np.where(missing, 0, days).astype("datetime64[D]")
    if part == "weekday":
        return np.where(missing, np.nan, np.array(WEEKDAYS, dtype=object)[(dates.astype(np.int64) + 3) % 7])
    if part == "date":
        return np.where(missing, np.nan, dates.astype(str).astype(object))
    begin = dates.astype("datetime64[M]" if part == "day of month" else "datetime64[Y]").astype("datetime64[D]")
    return np.where(missing, np.nan, (dates - begin).astype(np.float64) + 1)


def is_category(part: str) -> bool:
    """Return True for the parts that are texts."""
    return part in ("weekday", "date")


def part_name(column: str, part: str) -> str:
    """Name the column that holds a part of a date."""
    return f"{column}: {part}"


def pair_names(dates: Mapping[str, DateStatistics]) -> dict[str, tuple[str, str]]:
    """Name the elapsed time between each two columns of dates, later minus earlier column of the table."""
    names = [name for name, each in dates.items() if each["format"] != CLOCK][:MAX_PAIRS]
    return {f"{second} - {first}: days": (first, second) for first, second in itertools.combinations(names, 2)}


def expanded(frame: pd.DataFrame, statistics: Statistics, path: Path) -> pd.DataFrame:
    """Return the table with the parts of its dates as further columns, and ordered texts as their places.

    Raises RefusedError if a value is not a date, or a text is not in the order of its column.
    """
    dates, orders = statistics.get("dates", {}), statistics.get("ordinal", {})
    if not dates and not orders:
        return frame
    stamps = {name: seconds(frame[name], each["format"], path, hint(name)) for name, each in dates.items()}
    added = {
        part_name(name, part): values_of(part, stamps[name]) for name, each in dates.items() for part in each["parts"]
    }
    for pair, (first, second) in pair_names(dates).items():
        added[pair] = (stamps[second] - stamps[first]) / DAY
    for name in added:
        if name in frame.columns:
            raise RefusedError(f"{path}: column {name!r} has the name of a part of a date; rename it")
    added |= {name: places(frame, name, order, path) for name, order in orders.items()}
    return frame.assign(**{name: pd.Series(values, index=frame.index) for name, values in added.items()})


def hint(name: str) -> str:
    """Advice for a value that is not a date."""
    return f"; {date_option(name, '…')} names another format, datamodule.categories=[{name}] makes it a category"


def date_option(name: object, form: str) -> str:
    """Return the option that says how a column of dates is written."""
    return "datamodule.dates={" + f"{name}: {form!r}" + "}"


def places(frame: pd.DataFrame, name: str, order: Sequence[str], path: Path) -> np.ndarray:
    """Return the place (N,) of each text of a column in its `order`, from 0; NaN where missing.

    Raises RefusedError if a text is not in the order.
    """
    column = texts(frame, name)
    values = column.map({text: float(place) for place, text in enumerate(order)})
    wrong = values.isna() & column.notna()
    if wrong.any():
        row = wrong.idxmax()
        known = [str(text) for text in order]
        why = f"{path}, row {row}: {column[row]!r} is not among {', '.join(known)}"
        raise refusal("datamodule.ordinal", name, why, known, wanted=str(column[row]))
    return values.to_numpy(np.float64)
