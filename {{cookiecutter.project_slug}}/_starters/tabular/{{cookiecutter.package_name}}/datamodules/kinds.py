"""Detect columns of dates, columns that nothing can be learnt from, such as lists, and identifiers of rows."""

import datetime
import re

import numpy as np
import pandas as pd

SAMPLE_VALUES = 1000  # values of a column that are examined
TIME_PATTERN = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[AaPp]\.?[Mm]\.?)?"
MONTH_PATTERN = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
DAY_PATTERN = "|".join(
    [
        r"\d{4}([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])",  # 2024-01-31
        r"\d{4}-(?:0[1-9]|1[0-2])|\d{4}-W\d{2}(?:-\d)?",  # 2024-01, 2024-W05
        r"(?:0?[1-9]|[12]\d|3[01])([-/.])(?:0?[1-9]|[12]\d|3[01])\2\d{4}",  # 31.1.2024, 1/31/2024
        r"\d{1,2}/\d{1,2}/\d{2}|\d{2}([-.])\d{2}\3\d{2}",  # 1/31/24, 31.01.24
        r"(?:[a-z]{3,9},? )?\d{1,2}[ -]" + MONTH_PATTERN + r"[ ,-]+\d{2,4}",
        r"(?:[a-z]{3,9},? )?" + MONTH_PATTERN + r" \d{1,2},? \d{4}",
        MONTH_PATTERN + r"[ ,-]+\d{4}",
    ]
)
DATE_PATTERN = re.compile(
    rf"(?:{DAY_PATTERN})(?:[T ]{TIME_PATTERN} ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)?)?|{TIME_PATTERN}", re.IGNORECASE
)
# Names that pandas and R give to row names, and common names of identifiers.
ID_NAME_PATTERN = re.compile(
    r"(?:.*[ _.-])?(?:id|ids|idx|index|uuid|guid|key|row|rowid|rownames?|row_?num(?:ber)?|nr|no|num|number|serial)"
    r"|unnamed: ?\d+|__index_level_\d+__",
    re.IGNORECASE,
)
CAMEL_ID_PATTERN = re.compile(r".*[a-z](?:Id|ID)")


def foreign(values: pd.Series) -> str | None:
    """Describe values that are no numbers, categories or dates, with an example; None if they are."""
    present = values.dropna()
    if present.empty:
        return None
    first = present.iloc[0]
    if present.dtype.kind == "m":
        return f"durations ({first})"
    if present.dtype.kind == "M" or isinstance(first, str | int | float | np.number | np.bool_ | datetime.time):
        return None
    kinds = {"bytes": "bytes", "dict": "structs"}
    return f"{kinds.get(type(first).__name__, 'lists')} ({str(first)[:40]})"


def holds_dates(values: pd.Series) -> bool:
    """Return True if most values are dates or times of day."""
    present = values.dropna()
    if present.empty or present.dtype.kind in "mM" or isinstance(present.iloc[0], datetime.time):
        return present.dtype.kind == "M" or (not present.empty and isinstance(present.iloc[0], datetime.time))
    if not isinstance(present.iloc[0], str | int | float | np.number):
        return False
    some = present.iloc[:: max(1, len(present) // SAMPLE_VALUES)].map(lambda value: str(value).strip())
    dates = some.map(DATE_PATTERN.fullmatch).notna() if isinstance(present.iloc[0], str) else pd.Series([False])
    return bool(dates.mean() > 0.5) or _are_days_in_digits(some)


def _are_days_in_digits(some: pd.Series) -> bool:
    """Return True if all texts are eight digits that form a date, such as 20240131."""
    if some.nunique() < 3 or not some.str.fullmatch(r"(?:19|20)\d{6}").all():
        return False
    return bool(pd.to_datetime(some, format="%Y%m%d", errors="coerce").notna().all())


def counts_rows(column: pd.Series, values: np.ndarray) -> bool:
    """Return True if a `column` with the numbers `values` (N,), NaN where missing, only identifies rows.

    Its numbers are integers and all different, and they rise or fall by one per row, or the column's name is that of an
    identifier.
    """
    present, name = values[~np.isnan(values)], str(column.name)
    if len(present) < 2 or not column.dropna().is_unique or not (present == np.round(present)).all():
        return False
    named_id = ID_NAME_PATTERN.fullmatch(name) or CAMEL_ID_PATTERN.fullmatch(name)
    rises_by_one = len(present) == len(values) and (np.abs(np.diff(present)) == 1).all()
    return bool(rises_by_one or (named_id and len(present) > 0.9 * len(values)))


def follows_rows(values: np.ndarray) -> bool:
    """Return True if integers (N,) rise or fall from each row to the next, as identifiers and times do."""
    present = values[~np.isnan(values)]
    if len(present) < 10 or (present != np.round(present)).any():
        return False
    steps = np.diff(present)
    return bool((steps >= 0).all() or (steps <= 0).all()) and 2 * len(np.unique(present)) > len(present)


def epoch_unit(values: np.ndarray) -> str | None:
    """Return `s` or `ms` if all numbers (N,) would be times from 2001 to 2065 in that unit since 1970; else None."""
    present = values[~np.isnan(values)]
    if len(present) < 10 or present.min() == present.max():
        return None
    low, high = present.min(), present.max()
    return next((unit for unit, size in (("s", 1e9), ("ms", 1e12)) if size < low and high < 3 * size), None)
