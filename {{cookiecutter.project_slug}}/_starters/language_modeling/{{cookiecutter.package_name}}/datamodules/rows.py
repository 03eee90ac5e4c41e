"""Rows of texts in a JSONL, JSON, CSV or TSV file: read, and divided into splits."""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import torch

from ..engine import RefusedError, log, refusal
from .splits import SPLIT_NAMES, split_as_given, split_at_random

SEPARATORS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".jsonl", ".json", *SEPARATORS)
MAX_CELL = 2**30  # characters of a cell; the csv module refuses more than 2**17


class Row(NamedTuple):
    """A row: the line at which it ends (in a .json file its place in the list), its texts, and its split, if any."""

    line: int
    texts: tuple[str, ...]
    split: str


def read_rows(
    path: Path, columns: Mapping[str, str], key: str = "datamodule.root", with_splits: bool = True
) -> list[Row]:
    """Read the texts in `columns`, by key; rows with an empty text are left out and named in the log.

    With `with_splits`, a column `split` holds train, val or test. Raises RefusedError, which names `key` and the line,
    if the file or a row can't be read.
    """
    if not path.is_file():
        raise refusal(key, path, "no such file")
    if path.suffix.lower() not in SUFFIXES:
        raise refusal(key, path, f"expected a {', '.join(SUFFIXES)} file")
    rows: list[Row] = []
    empty: list[int] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, record in _records(file, path.suffix.lower()):
                texts = tuple(_text(record, key, column, line) for key, column in columns.items())
                row = Row(line, texts, _split(record, line) if with_splits else "")
                if all(text.strip() for text in texts):
                    rows.append(row)
                else:
                    empty.append(line)
    except UnicodeDecodeError as error:
        raise refusal(key, path, f"is not UTF-8 ({error}); iconv -f <its encoding> -t UTF-8 converts it") from error
    except (OSError, ValueError, csv.Error) as error:
        raise refusal(key, path, " ".join(str(error).split())) from error
    if empty:
        names = " or ".join(columns.values())
        log.warning(f"Left out: {len(empty):,} rows of {path} with an empty {names} ({some_lines(empty)})")
    if not rows:
        raise refusal(key, path, f"has no row with {' and '.join(columns.values())}")
    if len({bool(row.split) for row in rows}) > 1:
        line = next(row.line for row in rows if not row.split)
        raise refusal(key, path, f"line {line} has no split; expected train, val or test in each row, or in none")
    return rows


def _records(file: TextIO, suffix: str) -> Iterator[tuple[int, Any]]:
    """Yield line and content of each row. Raises ValueError if it is no JSON, or has fewer or more cells than names."""
    if suffix == ".json":
        rows = json.load(file)
        if not isinstance(rows, list):
            raise ValueError("expected a list of objects")
        yield from enumerate(rows, 1)
    elif suffix == ".jsonl":
        for line, text in enumerate(file, 1):
            if text.strip():
                try:
                    yield line, json.loads(text)
                except ValueError as error:
                    raise ValueError(f"line {line} is not JSON: {error}") from error
    else:
        csv.field_size_limit(MAX_CELL)
        reader = csv.reader(file, delimiter=SEPARATORS[suffix], strict=True)
        names = [name.strip() for name in next(reader, [])]
        for cells in reader:
            if cells and len(cells) != len(names):
                raise ValueError(f"line {reader.line_num} has {len(cells)} values; expected {len(names)}, as line 1")
            if cells:
                yield reader.line_num, dict(zip(names, cells, strict=True))


def _text(record: Any, key: str, column: str, line: int) -> str:
    """Return the text in a column. Raises ValueError if there is none."""
    if not isinstance(record, dict):
        raise ValueError(f"line {line} is a {type(record).__name__}; expected an object with the name {column!r}")
    if column not in record:
        names = ", ".join(map(repr, list(record)[:10])) or "nothing"
        raise ValueError(f"line {line} has no {column!r}, it has {names}; datamodule.{key}=<name> names another")
    value = record[column]
    if not isinstance(value, str | int | float) and value is not None:
        raise ValueError(f"line {line}: {column!r} is a {type(value).__name__}; expected a text")
    return "" if value is None else str(value)


def _split(record: dict[str, Any], line: int) -> str:
    """Return the split of a row, empty if it has none. Raises ValueError if it is another word."""
    name = str(record.get("split") or "").strip()
    if name and name.lower() not in SPLIT_NAMES:
        raise ValueError(f"line {line}: split {name!r}; expected train, val or test")
    return SPLIT_NAMES.get(name.lower(), "")


def some_lines(lines: Sequence[int]) -> str:
    """Name the first of some lines."""
    return f"line {', '.join(map(str, lines[:5]))}{', …' if len(lines) > 5 else ''}"


def row_keys(rows: Sequence[Row]) -> np.ndarray:
    """Hash the texts of each row to 64 bits, uint64 (N,)."""
    digests = (hashlib.blake2b("\0".join(row.texts).encode(), digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(digests), np.uint64)


def divide(
    rows: Sequence[Row], val_fraction: float, test_fraction: float, seed: int, sample_name: str
) -> dict[str, list[Row]]:
    """Divide rows as their splits say, or at random. Rows with the same first text stay in one split."""
    numbers: dict[str, int] = {}
    groups = torch.tensor([numbers.setdefault(row.texts[0], len(numbers)) for row in rows])
    repeated = groups if len(numbers) < len(rows) else None
    if rows[0].split:
        names = [row.split for row in rows]
        if "train" not in names and test_fraction < 1:
            raise RefusedError("datamodule.root: no row has the split train", "datamodule.root")
        given = {name: torch.tensor([n for n, each in enumerate(names) if each == name]) for name in {*names}}
        parts = split_as_given(given, val_fraction, test_fraction, seed, groups=repeated, sample_name=sample_name)
    else:
        parts = split_at_random(len(rows), val_fraction, test_fraction, seed, groups=repeated, sample_name=sample_name)
    return {name: [rows[number] for number in part.tolist()] for name, part in parts._asdict().items()}
