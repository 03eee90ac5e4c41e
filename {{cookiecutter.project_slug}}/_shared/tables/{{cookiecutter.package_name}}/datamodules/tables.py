"""Read CSV and Parquet files as tables, and their columns as numbers or texts; write tables.

What is wrong is said in one line with file, row and column. Rows are counted as a spreadsheet shows them: the names of
a CSV file are in row 1, so its first values are in row 2; the first row of a Parquet file is row 1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

from ..errors import RefusedError, refusal

SEPARATORS = {".csv": ",;\t", ".tsv": "\t"}
SUFFIXES = (*SEPARATORS, ".parquet")
MOST_VALUES = 2**28  # a small file can claim more rows than memory holds: 2 GB of numbers


def read_table(path: Path, key: str = "datamodule.root") -> pd.DataFrame:
    """The table in a CSV (UTF-8, `,` `;` or tab) or Parquet file; its index is the row as a spreadsheet shows it.

    The values of a CSV file are texts as they stand, NaN where there is none (`NA`, nothing, …); those of a Parquet
    file have its types. Raises RefusedError, which names `key`, where the file is no whole table.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise refusal(key, path, f"expected a {', '.join(SUFFIXES)} file")
    try:
        frame = _read_parquet(path, key) if suffix == ".parquet" else _read_csv(path, key)
    except pd.errors.EmptyDataError as error:
        raise refusal(key, path, "is empty") from error
    except (OSError, ValueError) as error:  # broken Parquet and undecodable text are ValueErrors
        raise refusal(key, path, f"can't be read as a table ({' '.join(str(error).split())})") from error
    if frame.empty:
        raise refusal(key, path, "holds no rows")
    return frame


def _read_csv(path: Path, key: str) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig", newline="") as file:
        separator = _separator(file, SEPARATORS[path.suffix.lower()])
        # Row 1 is read as any other, so that pandas does not rename columns of one name.
        frame = pd.read_csv(file, sep=separator, dtype=str, header=None, skip_blank_lines=False)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    names = ["" if pd.isna(name) else str(name).strip() for name in frame.iloc[0]]
    for number, name in enumerate(names, 1):
        if not name or names.count(name) > 1:
            why = f"the name {name!r} is there {names.count(name)} times" if name else "there is no name"
            raise refusal(key, path, f"row 1, column {number}: {why}; each column has a name of its own")
    frame.columns = names
    return frame.iloc[1:].dropna(how="all")


def _separator(file: TextIO, known: str) -> str:
    """The one of `known` that is most often in the first line; `file` is then at its begin again."""
    first = file.readline()
    file.seek(0)
    return max(known, key=first.count)


def _read_parquet(path: Path, key: str) -> pd.DataFrame:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        claimed = file.metadata.num_rows * file.metadata.num_columns
        if claimed > MOST_VALUES:
            raise refusal(key, path, f"holds {claimed:,} values; expected at most {MOST_VALUES:,}")
        frame = file.read().to_pandas(ignore_metadata=True)
    frame.columns = frame.columns.map(str)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write CSV, TSV or Parquet, as the suffix says, without the index. In Parquet columns of numbers hold numbers."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        parsed = {name: _parsed(frame[name]) for name in frame.columns if is_numeric(frame[name])}
        whole = {name: values for name, values in parsed.items() if values.isna().equals(frame[name].isna())}
        frame.assign(**whole).to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, lineterminator="\n", sep="\t" if suffix == ".tsv" else ",")


def need_columns(frame: pd.DataFrame, columns: Sequence[str], path: Path, key: str) -> None:
    """Raises RefusedError, which names `key`, for the first of `columns` that the table does not have."""
    for column in columns:
        if column not in frame.columns:
            raise refusal(key, "", f"{path} has no column {column!r}", frame.columns, wanted=column)


def is_numeric(values: pd.Series) -> bool:
    """Whether a column holds numbers: most of its values are; what is none among them is then a mistake.

    True and false are texts, and so are times.
    """
    if values.dtype.kind in "iuf":
        return True
    known = values.dropna()
    if known.dtype.kind in "bmM" or known.empty or isinstance(known.iloc[0], bool | list | dict | np.ndarray):
        return False
    return bool(_parsed(known).notna().mean() > 0.5)


def numbers(frame: pd.DataFrame, column: str, path: Path) -> np.ndarray:
    """A column as float64 (N,), NaN where there is no value. Raises RefusedError at what is no finite number.

    Finite are those that float32, which networks compute in, can hold.
    """
    values = frame[column]
    parsed = _parsed(values)
    wrong = (parsed.isna() & values.notna()) | (parsed.abs() > np.finfo(np.float32).max)
    if wrong.any():
        row = wrong.idxmax()
        raise RefusedError(f"{path}, row {row}, column {column!r}: {str(values[row])[:40]!r} is no finite number")
    return parsed.to_numpy(dtype=np.float64, na_value=np.nan)


def _parsed(values: pd.Series) -> pd.Series:
    """As float64; NaN where a value is no number."""
    try:
        return pd.to_numeric(values, errors="coerce").astype(np.float64)
    except TypeError:  # lists
        return pd.to_numeric(values.map(str), errors="coerce").astype(np.float64)


def texts(frame: pd.DataFrame, column: str) -> pd.Series:
    """A column as texts, NaN where there is no value; a whole number is written without a point, as 7 of 7.0."""
    values = frame[column]
    if values.dtype == object:  # may hold lists, which have no place in a dict
        return values.map(_text, na_action="ignore")
    return values.astype(object).map({value: _text(value) for value in values.dropna().unique()})


def _text(value: object) -> str | float:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip() or np.nan
