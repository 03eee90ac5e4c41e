"""What a model gets of a table: numbers as they are, and a code for each category; and what it has to know of them.

A code is a hash of column and text, so that it means the same in any table: which codes are known, and which tensor row
is theirs, only the model knows (`statistics`). A missing category is a text too: none.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..errors import RefusedError
from ..run_folder.folder import log
from .tables import is_numeric, numbers, texts

MOST_TEXTS = 1000  # a column with more is a name or a number of its row: nothing is learnt from it


class Columns(NamedTuple):
    """The names of the columns that predict, in their order."""

    numbers: list[str]
    categories: list[str]


def choose_columns(
    frame: pd.DataFrame, named: list[str] | None, others: list[str], as_categories: list[str]
) -> Columns:
    """Sort the `named` columns, or else the `others`, into numbers and categories; says which it leaves out.

    What most of a column's values are decides; `as_categories` are categories also where they are numbers.
    """
    chosen = Columns([], [])
    for name in others if named is None else named:
        values = frame[name]
        if named is None and texts(frame, name).nunique(dropna=False) < 2:
            log.warning(f"Column {name!r} is left out: it has one value alone")
        elif name not in as_categories and is_numeric(values):
            chosen.numbers.append(name)
        elif named is None and (count := texts(frame, name).nunique()) > min(MOST_TEXTS, len(frame) // 2):
            log.warning(f"Column {name!r} is left out: it has {count:,} different texts (datamodule.columns takes it)")
        else:
            chosen.categories.append(name)
    if not chosen.numbers and not chosen.categories:
        raise RefusedError("datamodule.columns: no column is left that could predict the target")
    return chosen


def encode(frame: pd.DataFrame, chosen: Columns, path: Path) -> tuple[Tensor, Tensor]:
    """Numbers (N, F) as float32, NaN where missing, and codes of categories (N, C) as int64."""
    values = [torch.tensor(numbers(frame, name, path), dtype=torch.float32) for name in chosen.numbers]
    codes = []
    for name in chosen.categories:
        places, found = pd.factorize(texts(frame, name), use_na_sentinel=False)
        codes.append(torch.tensor([code(name, text) for text in found], dtype=torch.int64)[torch.from_numpy(places)])
    size = len(frame)
    return (
        torch.stack(values, 1) if values else torch.empty(size, 0),
        torch.stack(codes, 1) if codes else torch.empty(size, 0, dtype=torch.int64),
    )


def code(column: str, text: Any) -> int:
    """63 bits that stand for a text in a column; NaN for none."""
    words = repr((column, None if pd.isna(text) else text)).encode()
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "big") >> 1


def number_statistics(training: pd.DataFrame, chosen: Columns, path: Path) -> dict[str, dict[str, float]]:
    """Of each column of numbers its median, and how far its values lie apart: the middle half of them, or else all."""
    statistics = {}
    for name in chosen.numbers:
        values = numbers(training, name, path)
        values = values[~np.isnan(values)]
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]) if len(values) else (0.0, 0.0, 1.0)
        statistics[name] = {"median": float(middle), "spread": float(high - low) or spread(values)}
    return statistics


def spread(values: np.ndarray) -> float:
    """The standard deviation, 1 where there is none."""
    return float(values.std()) or 1.0 if len(values) else 1.0


def category_statistics(training: pd.DataFrame, chosen: Columns) -> dict[str, dict[str, int]]:
    """Of each column of categories the texts that are known and their codes; a missing one is the text ''."""
    statistics = {}
    for name in chosen.categories:
        found = sorted(texts(training, name).unique(), key=str)
        statistics[name] = {"" if pd.isna(text) else text: code(name, text) for text in found}
    return statistics
