"""Detect columns that are neither numbers nor categories, such as dates and lists, and identifiers of rows."""

import re

import numpy as np
import pandas as pd

SAMPLE = 1000  # values of a column that are examined
CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[AaPp]\.?[Mm]\.?)?"
MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
DAY = "|".join(
    [
        r"\d{4}([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])",  # 2024-01-31
        r"\d{4}-(?:0[1-9]|1[0-2])|\d{4}-W\d{2}(?:-\d)?",  # 2024-01, 2024-W05
        r"(?:0?[1-9]|[12]\d|3[01])([-/.])(?:0?[1-9]|[12]\d|3[01])\2\d{4}",  # 31.1.2024, 1/31/2024
        r"\d{1,2}/\d{1,2}/\d{2}|\d{2}([-.])\d{2}\3\d{2}",  # 1/31/24, 31.01.24
        r"(?:[a-z]{3,9},? )?\d{1,2}[ -]" + MONTH + r"[ ,-]+\d{2,4}",
        r"(?:[a-z]{3,9},? )?" + MONTH + r" \d{1,2},? \d{4}",
        MONTH + r"[ ,-]+\d{4}",
    ]
)
DATE = re.compile(rf"(?:{DAY})(?:[T ]{CLOCK} ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)?)?|{CLOCK}", re.IGNORECASE)
# Names that pandas and R give to row names, and common names of identifiers.
CALLED_ID = re.compile(
    r"(?:.*[ _.-])?(?:id|ids|idx|index|uuid|guid|key|row|rowid|rownames?|row_?num(?:ber)?|nr|no|num|number|serial)"
    r"|unnamed: ?\d+|__index_level_\d+__",
    re.IGNORECASE,
)
CAMEL_ID = re.compile(r".*[a-z](?:Id|ID)")


def foreign(values: pd.Series) -> str | None:
    """Describe values that are neither numbers nor categories, with an example; None if the column is either."""
    known = values.dropna()
    if known.empty:
        return None
    first = known.iloc[0]
    if known.dtype.kind in "mM":
        return f"{'dates' if known.dtype.kind == 'M' else 'durations'} ({first})"
    if not isinstance(first, str | int | float | np.number | np.bool_):
        kinds = {"time": "times", "bytes": "bytes", "dict": "structs"}
        return f"{kinds.get(type(first).__name__, 'lists')} ({str(first)[:40]})"
    some = known.iloc[:: max(1, len(known) // SAMPLE)].map(lambda value: str(value).strip())
    dates = some[some.map(DATE.fullmatch).notna()] if isinstance(first, str) else some[:0]
    if 2 * len(dates) > len(some):
        return f"dates ({dates.iloc[0]})"
    return f"dates ({some.iloc[0]})" if _are_days_in_digits(some) else None


def _are_days_in_digits(some: pd.Series) -> bool:
    """True if all texts are eight digits that form a date, such as 20240131."""
    if some.nunique() < 3 or not some.str.fullmatch(r"(?:19|20)\d{6}").all():
        return False
    return bool(pd.to_datetime(some, format="%Y%m%d", errors="coerce").notna().all())


def counts_rows(given: pd.Series, values: np.ndarray) -> bool:
    """True if a column with the numbers `values` (N,), NaN where missing, only identifies rows.

    Its numbers are integers and all different, and they rise or fall by one per row, or the column's name is that of an
    identifier.
    """
    known, name = values[~np.isnan(values)], str(given.name)
    if len(known) < 2 or not given.dropna().is_unique or not (known == np.round(known)).all():
        return False
    called = CALLED_ID.fullmatch(name) or CAMEL_ID.fullmatch(name)
    rises_by_one = len(known) == len(values) and (np.abs(np.diff(known)) == 1).all()
    return bool(rises_by_one or (called and len(known) > 0.9 * len(values)))


def follows_rows(values: np.ndarray) -> bool:
    """True if integers (N,) rise or fall from each row to the next, as identifiers and times do."""
    known = values[~np.isnan(values)]
    if len(known) < 10 or (known != np.round(known)).any():
        return False
    steps = np.diff(known)
    return bool((steps >= 0).all() or (steps <= 0).all()) and 2 * len(np.unique(known)) > len(known)
