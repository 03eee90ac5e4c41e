"""Read CSV and Parquet files as tables, convert columns to numbers or texts, and write tables.

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

from ..engine import RefusedError, log, quiet, refusal

SEPARATORS = {".csv": "\t;,", ".tsv": "\t"}  # on a tie the first one wins
SUFFIXES = (*SEPARATORS, ".parquet")
SAMPLE_ROWS = 200  # rows of a CSV file from which the separator is inferred
SAMPLE_VALUES = 20_000  # of a column of texts, by which it is told whether they are numbers
LARGE_CSV = 2**25  # bytes, from which a CSV file is read by Arrow, in a fifth of the time
# Bytes of memory that training on a value of a table takes, with its copies; and on a byte of a CSV file.
BYTES_PER_VALUE = 40
BYTES_PER_CSV_BYTE = 8
MAX_VALUES = 2**28  # where the memory is not known: a small file can claim more rows than memory holds
MAX_SHOWN = 20  # column names in a message

# Texts that mean "no value" in a column of numbers. In a column of texts they are kept: NA is Namibia.
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None")
GROUPS_PATTERN = r"[1-9]\d{0,2}(?:[.'’ \u00a0\u202f]\d{3})+"  # digits with thousands separators
COMMA_NUMBER_PATTERN = re.compile(
    rf"\s*[+-]?(?=[\d,])(?:{GROUPS_PATTERN}|\d+)?(?:,\d+)?(?:[eE][+-]?\d+)?\s*"
)  # 1.234,5
THOUSANDS_PATTERNS = {mark: re.compile(r"\s*[+-]?[1-9]\d?\d?(?:" + re.escape(mark) + r"\d\d\d)+\s*") for mark in ".,"}
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


class CsvFormat(NamedTuple):
    """Separator and decimal mark of a CSV file."""

    separator: str
    decimal: str


def read_table(path: Path, key: str = "datamodule.root") -> pd.DataFrame:
    """Read a CSV (UTF-8; `,`, `;` or tab) or Parquet file; the index is the row number that a spreadsheet shows.

    Values from CSV are texts as written, NaN for empty cells; numbers with a decimal comma, possible with `;` or tab as
    separator, get a point. Values from Parquet keep its types. Raises RefusedError, which names `key`, if the file is
    not a complete table.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise refusal(key, path, f"expected a {', '.join(SUFFIXES)} file")
    try:
        _check_memory(path, suffix, key)
        frame = _read_parquet(path, key) if suffix == ".parquet" else _read_csv(path, key)[0]
    except pd.errors.EmptyDataError as error:
        raise refusal(key, path, "is empty") from error
    except (OSError, ValueError, NotImplementedError, csv.Error) as error:  # broken or undecodable: ValueErrors
        raise refusal(key, path, f"can't be read as a table ({' '.join(str(error).split())})") from error
    if frame.empty:
        raise refusal(key, path, "holds no rows")
    return frame


def _check_memory(path: Path, suffix: str, key: str) -> None:
    """Raises RefusedError, before the file is read, if its table needs more memory than there is."""
    available, size = available_memory(), path.stat().st_size
    claim = f"{size / 2**30:,.1f} GB of text"
    needed = size * BYTES_PER_CSV_BYTE
    if suffix == ".parquet":
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            rows, columns = file.metadata.num_rows, file.metadata.num_columns
        claim, needed = f"{rows:,} rows of {columns:,} columns", rows * columns * BYTES_PER_VALUE
        available = available or MAX_VALUES * BYTES_PER_VALUE
    if available and needed > available:
        have = f"{needed / 2**30:,.1f} GB of memory are needed, and {available / 2**30:,.1f} GB are free"
        raise refusal(key, path, f"holds {claim}, for which about {have}; expected fewer rows or columns")


def available_memory(system: Path = Path("/")) -> int | None:
    """Return the bytes that this process may still use, by /proc and the limits of its container; None if unknown.

    Cached files count as free, since the kernel drops them for a process that needs memory.
    """
    try:
        lines = (system / "proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    group = system / "sys/fs/cgroup"
    try:
        limit, used = (int((group / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        held = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        return max(1, min(free, limit - used + int(held.get("inactive_file", 0))))
    except (OSError, ValueError):  # no limit
        return free


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
    return dotted[_parsed(dotted).notna() & is_numeric(cells)]


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
        parsed = {name: _parsed(frame[name]) for name in frame.columns if is_numeric(frame[name])}
        whole = {name: values for name, values in parsed.items() if _is_lossless(frame[name], values)}
        frame.assign(**whole).to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, lineterminator="\n", sep="\t" if suffix == ".tsv" else ",")


def _is_lossless(values: pd.Series, parsed: pd.Series) -> bool:
    """Return True if a column of texts loses nothing when converted to numbers; 007 and NA would."""
    zeros = values.dtype.kind == "O" and values.astype(str).str.fullmatch(r"[+-]?0\d.*").any()
    return parsed.isna().equals(values.isna()) and not zeros


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
    plain = _parsed(present).notna()
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
    parsed = _parsed(values)
    wrong = (parsed.isna() & values.notna()) | (parsed.abs() > np.finfo(np.float32).max)
    if wrong.any():
        wrong[wrong] = ~values[wrong].map(lambda value: str(value).strip()).isin(MISSING)
    if wrong.any():
        row = wrong.idxmax()
        text = str(values[row]).strip()
        fix = "; expected only digits and a decimal point, as in 1234.5" if FORMATTED_PATTERN.fullmatch(text) else ""
        raise RefusedError(f"{path}, row {row}, column {column!r}: {text[:40]!r} is not a finite number{fix}{hint}")
    return parsed.to_numpy(dtype=np.float64, na_value=np.nan)


def _parsed(values: pd.Series) -> pd.Series:
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
