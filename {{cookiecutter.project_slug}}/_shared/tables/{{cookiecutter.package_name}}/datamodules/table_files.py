"""Files of tables: read CSV and Parquet files, write them, add columns to a copy of one.

Errors are one line with file, row and column. Rows are numbered as a spreadsheet shows them: in a CSV file the column
names are row 1 and the first values row 2; in a Parquet file the first values are row 1.
"""

import codecs
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import pandas as pd

from ..engine import log, quiet, refusal
from .memory import free_memory
from .table_values import GROUPS_PATTERN, MISSING, is_numeric, parsed

SEPARATORS = {".csv": "\t;,", ".tsv": "\t"}  # on a tie the first one wins
SUFFIXES = (*SEPARATORS, ".parquet")
SAMPLE_ROWS = 200  # rows of a CSV file from which the separator is inferred
LARGE_CSV = 2**25  # bytes, from which a CSV file is read by Arrow, in a fifth of the time
# Bytes of memory that training on a value of a table takes, with its copies; and on a byte of a CSV file.
BYTES_PER_VALUE = 40
BYTES_PER_CSV_BYTE = 8

COMMA_NUMBER_PATTERN = re.compile(
    rf"\s*[+-]?(?=[\d,])(?:{GROUPS_PATTERN}|\d+)?(?:,\d+)?(?:[eE][+-]?\d+)?\s*"
)  # 1.234,5
THOUSANDS_PATTERNS = {mark: re.compile(r"\s*[+-]?[1-9]\d?\d?(?:" + re.escape(mark) + r"\d\d\d)+\s*") for mark in ".,"}


class CsvFormat(NamedTuple):
    """Separator and decimal mark of a CSV file."""

    separator: str
    decimal: str


def read_table(path: Path, key: str = "datamodule.root", csv_memory: int = BYTES_PER_CSV_BYTE) -> pd.DataFrame:
    """Read a CSV (UTF-8; `,`, `;` or tab) or Parquet file; the index is the row number that a spreadsheet shows.

    Values from CSV are texts as written, NaN for empty cells; numbers with a decimal comma, possible with `;` or tab as
    separator, get a point. Values from Parquet keep its types. Raises RefusedError, which names `key`, if the file is
    not a complete table, or needs more memory than is free, at `csv_memory` bytes for a byte of CSV.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise refusal(key, path, f"expected a {', '.join(SUFFIXES)} file")
    try:
        _check_memory(path, suffix, key, csv_memory)
        frame = _read_parquet(path, key) if suffix == ".parquet" else _read_csv(path, key)[0]
    except pd.errors.EmptyDataError as error:
        raise refusal(key, path, "is empty") from error
    except (OSError, ValueError, NotImplementedError, csv.Error) as error:  # broken or undecodable: ValueErrors
        raise refusal(key, path, f"can't be read as a table ({' '.join(str(error).split())})") from error
    if frame.empty:
        raise refusal(key, path, "holds no rows")
    return frame


def _check_memory(path: Path, suffix: str, key: str, csv_memory: int) -> None:
    """Raises RefusedError, before the file is read, if its table needs more memory than there is."""
    available, size = free_memory(), path.stat().st_size
    claim = f"{size / 2**30:,.1f} GB of text"
    needed = size * csv_memory
    if suffix == ".parquet":
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            rows, columns = file.metadata.num_rows, file.metadata.num_columns
        claim, needed = f"{rows:,} rows of {columns:,} columns", rows * columns * BYTES_PER_VALUE
    if needed > available:
        have = f"{needed / 2**30:,.1f} GB of memory are needed, and {available / 2**30:,.1f} GB are free"
        raise refusal(key, path, f"holds {claim}, for which about {have}; expected fewer rows or columns")


def _read_texts(file: TextIO, path: Path, separator: str) -> pd.DataFrame:
    """Read all cells of a CSV file as texts, NaN for empty ones, with the names of the columns as the first row."""
    if path.stat().st_size >= LARGE_CSV:
        from pyarrow import ArrowInvalid, string
        from pyarrow import csv as arrow_csv

        width = len(next(csv.reader(file, delimiter=separator)))
        file.seek(0)
        names = [str(number) for number in range(width)]
        with suppress(ArrowInvalid):  # such as an empty row or a short one: pandas reads or names it
            table = arrow_csv.read_csv(
                path,
                arrow_csv.ReadOptions(column_names=names),
                arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True, ignore_empty_lines=False),
                arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, string()), null_values=[""], strings_can_be_null=True
                ),
            )
            return table.to_pandas(split_blocks=True, self_destruct=True)
    # Read row 1 as data, so that pandas does not rename columns that have the same name.
    return pd.read_csv(
        file, sep=separator, dtype=str, header=None, skip_blank_lines=False, keep_default_na=False, na_values=[""]
    )


def _read_csv(path: Path, key: str) -> tuple[pd.DataFrame, CsvFormat]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        separator = _separator(file, SEPARATORS[path.suffix.lower()])
        frame = _read_texts(file, path, separator)
        if frame.iloc[:, -1].isna().any():
            file.seek(0)
            _check_lengths(csv.reader(file, delimiter=separator), frame.shape[1], path, key)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    names = ["" if pd.isna(name) else str(name).strip() for name in frame.iloc[0]]
    if len(names) > 1 and not names[0]:
        names[0] = "Unnamed: 0"  # the index column that pandas writes
    _check_names(names, path, key, "row 1, ")
    frame.columns = names
    frame = frame.iloc[1:]
    if frame[names[0]].isna().any():  # else no row is empty
        frame = frame.dropna(how="all")
    return frame, CsvFormat(separator, "." if separator == "," else _read_commas(frame, path, key))


def _separator(file: TextIO, candidates: str) -> str:
    """Infer the separator from the first rows: the candidate that gives most rows as many values as there are names.

    Separators within quotation marks do not count. `file` is rewound.
    """
    file.seek(0)
    lines = list(islice(file, SAMPLE_ROWS))
    file.seek(0)
    fits = {separator: _fit(lines, separator) for separator in candidates}
    return max(candidates, key=lambda separator: fits[separator]) if max(fits.values())[0] else candidates[-1]


def _fit(lines: list[str], separator: str) -> tuple[float, int]:
    """Return the fraction of rows as long as the first, and minus the number of cells with unbalanced quotes."""
    rows = [row for row in csv.reader(lines, delimiter=separator) if row]
    if not rows or len(rows[0]) < 2:
        return 0.0, 0
    unbalanced = sum(cell.count('"') % 2 for row in rows for cell in row)
    return sum(len(row) == len(rows[0]) for row in rows) / len(rows), -unbalanced


def _check_lengths(rows: Any, width: int, path: Path, key: str) -> None:
    """Raises RefusedError if a row has fewer values than row 1."""
    for number, row in enumerate(rows, 1):
        if 0 < len(row) < width:
            raise refusal(key, path, f"row {number} has {len(row)} values; expected {width}, as row 1")


def _check_names(names: Sequence[str], path: Path, key: str, where: str = "") -> None:
    """Raises RefusedError if a column has no name or that of another."""
    for number, name in enumerate(names, 1):
        if not name or names.count(name) > 1:
            why = f"the name {name!r} is there {names.count(name)} times" if name else "there is no name"
            raise refusal(key, path, f"{where}column {number}: {why}; expected a different name for each column")


def _read_commas(frame: pd.DataFrame, path: Path, key: str) -> str:
    """Replace decimal commas by points in columns of numbers; return `,` if there were any, else `.`.

    A column that also has decimal points, or whose commas may separate thousands while other columns have decimal
    points, is left as it is: `numbers` refuses it. Raises RefusedError if a point may separate thousands.
    """
    cells = {name: frame[name].dropna() for name in frame.columns}
    dotted = {name: _with_point(column) for name, column in cells.items()}
    points = {name for name, marked in dotted.items() if marked.map(THOUSANDS_PATTERNS["."].fullmatch).isna().any()}
    for column in cells.values():
        _check_thousands(column, path, key)
    commas = []
    for name, column in cells.items():
        marked = column[column.str.contains(",", regex=False)]
        numeric = column[~column.str.strip().isin(MISSING)].map(COMMA_NUMBER_PATTERN.fullmatch).notna()
        if marked.empty or numeric.mean() <= 0.5 or name in points:
            continue
        if not (points and marked.map(THOUSANDS_PATTERNS[","].fullmatch).notna().all()):
            commas.append(name)
    for name in commas:
        readable = cells[name][cells[name].map(COMMA_NUMBER_PATTERN.fullmatch).notna()]
        plain = readable.str.replace(r"[.'’ \u00a0\u202f]", "", regex=True).str.replace(",", ".", regex=False)
        frame.loc[plain.index, name] = plain
    for name in [name for name in cells if commas and len(dotted[name]) and name not in {*points, *commas}]:
        row, text = dotted[name].index[0], dotted[name].iloc[0]
        why = f"row {row}, column {name!r}: is {text!r} {text.replace('.', '')}, or a fraction? Other columns have"
        raise refusal(key, path, f"{why} decimal commas; write thousands without a point")
    for name in [name for name in cells if not (commas or points) and len(dotted[name])]:
        text = dotted[name].iloc[0]
        log.warning(f"{path}, column {name!r}: {text!r} is read as a fraction, not as {text.replace('.', '')}")
    return "," if commas else "."


def _check_thousands(cells: pd.Series, path: Path, key: str) -> None:
    """Raises RefusedError if every mark in a column may separate thousands, and its numbers without a mark suggest it.

    Example: 999 and 1.023 are counts, since one in ten fractions with three digits ends in 0 and would be shorter.
    """
    values = cells.str.strip()
    for mark in ".,":
        marked = values[values.str.contains(mark, regex=False)]
        plain = pd.to_numeric(values[values.str.fullmatch(r"[+-]?\d+")]).abs()
        whole = len(marked) + len(plain) > 0.5 * len(cells)
        is_thousands = THOUSANDS_PATTERNS[mark].fullmatch
        if len(marked) and whole and (plain > 99).any() and marked.map(is_thousands).notna().all():
            text = marked.iloc[0]
            why = f"row {marked.index[0]}, column {cells.name!r}: is {text!r} {text.replace(mark, '')}, or a fraction?"
            raise refusal(key, path, f"{why} Others have no {mark!r}; write thousands without it")


def _with_point(cells: pd.Series) -> pd.Series:
    """Return the values with a decimal point, in a column of texts that are mostly numbers."""
    dotted = cells[cells.str.contains(".", regex=False)]
    return dotted[parsed(dotted).notna() & is_numeric(cells)]


def _read_parquet(path: Path, key: str) -> pd.DataFrame:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        table = file.read()
    _check_names(table.column_names, path, key)
    for number, name in enumerate(table.column_names):
        table = table.set_column(number, name, _plain(table.column(number)))
    # Keep integers beside missing values: float64 would round those beyond 2^53.
    frame = table.to_pandas(ignore_metadata=True, integer_object_nulls=True)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


def _plain(column: Any) -> Any:
    """Convert an Arrow column to a type that pandas computes with: no dictionaries, half floats, decimals or dates."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_float16(column.type) or pa.types.is_decimal(column.type):
        return column.cast(pa.float64())
    return column.cast(pa.timestamp("ms")) if pa.types.is_date(column.type) else column


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write CSV, TSV or Parquet, by suffix, without the index. Parquet gets numeric columns as numbers."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        numeric = {name: parsed(frame[name]) for name in frame.columns if is_numeric(frame[name])}
        whole = {name: values for name, values in numeric.items() if _is_lossless(frame[name], values)}
        frame.assign(**whole).to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, lineterminator="\n", sep="\t" if suffix == ".tsv" else ",")


def _is_lossless(values: pd.Series, converted: pd.Series) -> bool:
    """Return True if a column of texts loses nothing when converted to numbers; 007 and NA would."""
    zeros = values.dtype.kind == "O" and values.astype(str).str.fullmatch(r"[+-]?0\d.*").any()
    return converted.isna().equals(values.isna()) and not zeros


def add_columns(source: Path, path: Path, added: Mapping[str, np.ndarray], rows: pd.Index) -> None:
    """Write the table in `source` to `path` with the columns `added`, whose values belong to `rows`.

    Columns of the same names are replaced. Everything else stays: in CSV the text of each cell and, if the suffix is
    the same, the separator, quotation marks and decimal comma; in Parquet the types.
    """
    kinds = [each.suffix.lower() for each in (source, path)]
    if kinds == [".parquet", ".parquet"]:
        from pyarrow import array, parquet

        with parquet.ParquetFile(source) as file:
            table = file.read()
        table = table.drop_columns([name for name in added if name in table.column_names])
        for name, values in added.items():
            table = table.append_column(name, array(values))
        parquet.write_table(table, path)
    elif ".parquet" in kinds:
        frame = read_table(source, "input")
        frame = frame.drop(columns=[name for name in added if name in frame.columns])
        write_table(pd.concat([frame, pd.DataFrame(dict(added), index=rows)], axis=1), path)
    else:
        _add_to_csv(source, path, added, rows)


def _add_to_csv(source: Path, path: Path, added: Mapping[str, np.ndarray], rows: pd.Index) -> None:
    with quiet(True):  # its warnings were logged at the first reading
        names, form = _read_csv(source, "input")
    candidates = SEPARATORS.get(path.suffix.lower()) if source.suffix != path.suffix else None
    separator = candidates[-1] if candidates else form.separator
    decimal = form.decimal if separator != "," else "."
    kept = [place for place, name in enumerate(names.columns) if name not in added]
    append_only = separator == form.separator and len(kept) == len(names.columns)
    values = {1: list(added)} | dict(zip(rows, zip(*added.values(), strict=True), strict=True))
    with source.open("rb") as file:
        encoding = "utf-8-sig" if file.read(3) == codecs.BOM_UTF8 else "utf-8"
    with source.open(encoding=encoding, newline="") as file, StringIO() as text:
        for number, (line, cells) in enumerate(_records(file, form.separator), 1):
            if number not in values:  # an empty row
                continue
            more = [_format(value, decimal) for value in values[number]]
            body = line.rstrip("\r\n")
            ending = line[len(body) :] or "\n"
            writer = csv.writer(text, delimiter=separator, lineterminator=ending)
            if append_only:
                text.write(body + separator)
                writer.writerow(more)
            else:
                writer.writerow([*(cells[k] for k in kept), *more])
        content = text.getvalue()
    path.write_text(content, encoding=encoding, newline="")


def _records(file: TextIO, separator: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each row of a CSV file as written, which may be several lines, and its cells."""
    read: list[str] = []

    def lines() -> Iterator[str]:
        for line in file:
            read.append(line)
            yield line

    for cells in csv.reader(lines(), delimiter=separator):
        yield "".join(read), cells
        read.clear()


def _format(value: Any, decimal: str) -> str:
    """Format a value with the decimal mark `decimal`."""
    return str(value).replace(".", decimal) if isinstance(value, float | np.floating) else str(value)
