"""Values of a table's columns: which columns hold numbers, and their conversion to numbers or texts.

Errors are one line with file, row and column; the index of a table is the row number that a spreadsheet shows.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..engine import RefusedError, refusal

SAMPLE_VALUES = 20_000  # of a column of texts, by which it is told whether they are numbers
MAX_SHOWN = 20  # column names in a message

# Texts that mean "no value" in a column of numbers. In a column of texts they are kept: NA is Namibia.
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None")
GROUPS_PATTERN = r"[1-9]\d{0,2}(?:[.'’ \u00a0\u202f]\d{3})+"  # digits with thousands separators
CURRENCY_PATTERN = (
    r"(?:[$€£¥₹₽₩₺₫₴₪]|USD|EUR|GBP|JPY|CHF|CNY|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|kr\.?|zł|Fr\.?|Rs\.?)"
)
# Numbers formatted for people: 1,234.50, $12.50, 52%, (3.10), 12.5 kg.
FORMATTED_PATTERN = re.compile(
    rf"\(?[+\-−–]?\s*(?:{CURRENCY_PATTERN}\s*)?[+\-−–]?"
    rf"(?:(?:{GROUPS_PATTERN}|\d\d?\d?(?:,\d\d\d?)+|\d+)(?:[.,]\d+)?|[.,]\d+)(?:[eE][+-]?\d+)?"
    rf"\s*(?:%|‰|{CURRENCY_PATTERN}|" + r"(?P<unit>°?[^\W\d_]{1,4}))?\s*-?\)?"
)
WHOLE_PATTERN = re.compile(r"(-?\d+)(?:\.0+|,0)")  # an integer as pandas writes it in a column with missing values


def need_columns(frame: pd.DataFrame, columns: Sequence[str], path: Path, key: str) -> None:
    """Raises RefusedError, which names `key` and the existing columns, if one of `columns` is missing."""
    missing = [column for column in columns if column not in frame.columns]
    if not missing:
        return
    names = [str(name) for name in frame.columns]
    first = ", ".join(names[:MAX_SHOWN]) + (f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else "")
    why = f"{path} has no column {', '.join(map(repr, missing[:MAX_SHOWN]))}; there are {first}"
    raise refusal(key, "", why, names, wanted=missing[0])


def is_numeric(values: pd.Series) -> bool:
    """Return True if a column holds numbers: most values are, even if formatted for people (`$12.50`, `1,234`).

    Anything else in it is then a mistake, which `numbers` refuses. Booleans and times count as texts.
    """
    if values.dtype.kind in "iuf":
        return True
    present = values.dropna()
    if present.dtype.kind in "bmM" or present.empty or not isinstance(present.iloc[0], str | int | float | np.number):
        return False
    if isinstance(present.iloc[0], bool):
        return False
    present = present.iloc[:: max(1, len(present) // SAMPLE_VALUES)]
    plain = parsed(present).notna()
    others = present[~plain].map(lambda value: str(value).strip())
    others = others[~others.isin(MISSING)]
    return bool(plain.sum() + _count_formatted(others) > 0.5 * (plain.sum() + len(others)))


def _count_formatted(cells: pd.Series) -> float:
    """Count the texts that are numbers formatted for people; estimated from a sample if there are many.

    A letter or word after a number is a unit only if it is always the same and the numbers are fractions or many
    distinct ones: `1.5 kg`, but not house number `12a` or `4 doors`.
    """
    sample = cells.iloc[:: max(1, len(cells) // 10_000)]
    matches = sample.map(FORMATTED_PATTERN.fullmatch).dropna()
    units = {match["unit"] for match in matches}
    measured = len(units) == 1 and (sample.str.contains(r"\d[.,]\d").any() or sample.nunique() > 20)
    count = len(matches) if units <= {None} or measured else sum(match["unit"] is None for match in matches)
    return len(cells) * count / max(1, len(sample))


def numbers(frame: pd.DataFrame, column: str, path: Path, hint: str = "") -> np.ndarray:
    """Convert a column to float64 (N,), NaN for missing values. Raises RefusedError at anything but a finite number.

    Finite means that float32, in which networks compute, can hold it. `hint` is added to the message.
    """
    values = frame[column]
    converted = parsed(values)
    wrong = (converted.isna() & values.notna()) | (converted.abs() > np.finfo(np.float32).max)
    if wrong.any():
        wrong[wrong] = ~values[wrong].map(lambda value: str(value).strip()).isin(MISSING)
    if wrong.any():
        row = wrong.idxmax()
        text = str(values[row]).strip()
        fix = "; expected only digits and a decimal point, as in 1234.5" if FORMATTED_PATTERN.fullmatch(text) else ""
        raise RefusedError(f"{path}, row {row}, column {column!r}: {text[:40]!r} is not a finite number{fix}{hint}")
    return converted.to_numpy(dtype=np.float64, na_value=np.nan)


def parsed(values: pd.Series) -> pd.Series:
    """Convert to float64; NaN for values that are not numbers."""
    try:
        return pd.to_numeric(values, errors="coerce").astype(np.float64)
    except TypeError:  # lists
        return pd.to_numeric(values.map(str), errors="coerce").astype(np.float64)


def texts(frame: pd.DataFrame, column: str) -> pd.Series:
    """Convert a column to texts, NaN for missing values. Equal values give equal texts, whatever wrote the file.

    An integer has no point (7 for 7.0 and "7.0"); booleans are True and False.
    """
    values = frame[column]
    if values.dtype == object:  # may hold lists, which can't be keys of a dict
        return values.map(_text, na_action="ignore")
    return values.astype(object).map({value: _text(value) for value in values.dropna().unique()})


def _text(value: object) -> str | float:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    text = str(value).strip()
    if whole := WHOLE_PATTERN.fullmatch(text):
        return str(int(whole[1])) if whole[1] == "-0" else whole[1]
    return text.capitalize() if text.lower() in ("true", "false") else text or np.nan
