"""Rows of a table: which train, validate and test (as a column says, by time, groups or at random), and weights."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..engine import RefusedError, refusal
from .dates import date_format, seconds
from .kinds import holds_dates
from .splits import SPLIT_NAMES, Split, split_as_given, split_at_random, split_in_time
from .table_values import numbers, texts

MAX_BINS = 10  # of a numeric target: quantiles by which splits are stratified
COLUMN_NAMES = {**SPLIT_NAMES, "tr": "train", "holdout": "test"}  # more names of splits in a column


class Asked(NamedTuple):
    """How rows are to be divided."""

    val_fraction: float
    test_fraction: float
    seed: int
    folds: int | None = None
    fold: int | None = None
    split: str | None = None  # the column that names the split of a row
    time: str | None = None  # the column by which later rows test
    groups: str | None = None  # the column of groups, which stay whole


def row_weights(frame: pd.DataFrame, column: str, path: Path, rows: Tensor) -> Tensor:
    """Return the weights (n,) of `rows`, 1 on average. Raises RefusedError if one is missing or negative."""
    values = numbers(frame, column, path)
    wrong = ~(values >= 0)
    if wrong.any():
        row = frame.index[int(wrong.argmax())]
        raise refusal("datamodule.weights", column, f"{path}, row {row}: expected a number of at least 0")
    weights = torch.tensor(values)[rows]
    if not weights.any():
        raise refusal("datamodule.weights", column, "is 0 in all training rows")
    return (weights / weights.mean()).float()


def divide(
    frame: pd.DataFrame,
    path: Path,
    asked: Asked,
    strata: Tensor | None,
    strata_names: list[str],
    tested: Tensor | None = None,
    date_form: str = "",
) -> tuple[Split, str]:
    """Divide the rows of a table, N; return their indices and, in words, where the splits come from.

    `tested` are rows of another file, which are the test part: the table's own then train and validate. `date_form` is
    the format of the column of times, if it is known.
    """
    options = {"folds": asked.folds, "fold": asked.fold, "sample_name": "rows"}
    fractions = (asked.val_fraction, asked.test_fraction, asked.seed)
    groups = None if asked.groups is None else _groups(frame, asked.groups)
    own = torch.arange(len(frame))
    if asked.test_fraction == 1:
        return Split(own[:0], own[:0], own), "all rows"
    if asked.split is not None:
        given = _given(frame, asked.split, path) | ({} if tested is None else {"test": tested})
        cut = [name for name in Split._fields if name not in given]
        _need_test("test" not in cut, asked)
        origin = f"column {asked.split!r}" + (f"; {' and '.join(cut)} cut from train at random" if cut else "")
        return _as_given(given, *fractions, strata=strata, names=strata_names, groups=groups, **options), origin
    if asked.time is not None:
        return _in_time(frame, asked, path, tested, date_form)
    origin = f"whole groups of {asked.groups!r}" if asked.groups else "at random"
    if tested is not None:
        parts = {"train": own, "test": tested}
        return split_as_given(parts, *fractions, strata=strata, groups=groups, **options), origin
    _need_test(False, asked)
    return split_at_random(
        len(frame), *fractions, strata=strata, groups=groups, strata_names=strata_names, **options
    ), origin


def _as_given(
    given: dict[str, Tensor], *fractions: Any, strata: Tensor | None, names: list[str], **options: Any
) -> Split:
    """Use the splits of `given`. If bins of a number, strata without names, are too small in train, use no strata."""
    try:
        return split_as_given(given, *fractions, strata=strata, **options)
    except RefusedError:
        if strata is None or names:
            raise
        return split_as_given(given, *fractions, **options)


def _need_test(given: bool, asked: Asked) -> None:
    """Raises RefusedError if no row would test."""
    if not given and asked.test_fraction == 0:
        why = "no row would test; expected a fraction, datamodule.split=<column> or datamodule.test=<file>"
        raise refusal("datamodule.test_fraction", asked.test_fraction, why)


def _groups(frame: pd.DataFrame, name: str) -> Tensor:
    """Return the group index (N,) of each row; rows without a group form one group."""
    return torch.from_numpy(pd.factorize(texts(frame, name), use_na_sentinel=False)[0]).long()


def _given(frame: pd.DataFrame, name: str, path: Path) -> dict[str, Tensor]:
    """Return the rows of each split that a column names. Raises RefusedError for another text."""
    words = texts(frame, name)
    splits = words.map(lambda word: COLUMN_NAMES.get(str(word).lower()), na_action="ignore")
    if splits.isna().any():
        row = splits.isna().idxmax()
        why = f"{path}, row {row}: {words[row]!r} is no split; expected train, val or test"
        raise refusal("datamodule.split", name, why)
    given = {
        split: torch.from_numpy(np.flatnonzero(splits == split)) for split in Split._fields if (splits == split).any()
    }
    if "train" not in given:
        raise refusal("datamodule.split", name, f"{path}: no row is of the split train")
    return given


def _in_time(frame: pd.DataFrame, asked: Asked, path: Path, tested: Tensor | None, date_form: str) -> tuple[Split, str]:
    """Train on the earliest rows and test on the latest; rows of the same time are in one split."""
    name = str(asked.time)
    stamps = times_of(frame, name, path, date_form)
    _need_test(tested is not None, asked)
    order = np.argsort(stamps, kind="stable")
    ordered = stamps[order]
    share = 0.0 if tested is not None else asked.test_fraction
    spans = split_in_time(len(frame), asked.val_fraction, share, asked.folds, asked.fold)
    # A boundary within rows of the same time moves to the first of them.
    bounds = [int(np.searchsorted(ordered, ordered[span.start])) if len(span) else span.start for span in spans[1:]]
    end = int(np.searchsorted(ordered, ordered[spans[1].stop])) if spans[1].stop < len(ordered) else len(ordered)
    rows = [order[: bounds[0]], order[bounds[0] : end], order[bounds[1] :]]
    if not (len(rows[0]) and len(rows[1]) and (len(rows[2]) or tested is not None)):
        raise RefusedError(f"datamodule.time={name}: {len(np.unique(stamps)):,} different times are too few to split")
    train, val, test = (torch.from_numpy(np.sort(part)) for part in rows)
    return Split(train, val, test if tested is None else tested), f"in order of {name!r}"


def times_of(frame: pd.DataFrame, name: str, path: Path, date_form: str = "") -> np.ndarray:
    """Return the times (N,) that order rows: dates in seconds, or numbers. Raises RefusedError if one is missing."""
    if date_form or holds_dates(frame[name]):
        stamps = seconds(frame[name], date_form or date_format(frame[name], path), path)
    else:
        stamps = numbers(frame, name, path, "; expected dates or numbers in the column of datamodule.time")
    if np.isnan(stamps).any():
        row = frame.index[int(np.isnan(stamps).argmax())]
        raise refusal("datamodule.time", name, f"{path}, row {row}: the time is missing")
    return stamps


def strata_of(values: np.ndarray, asked: Asked) -> Tensor | None:
    """Return the quantile bin (N,) of each number (N,) to predict; None if bins would be too small to split."""
    if asked.test_fraction == 1:  # evaluation on other data: nothing is split
        return None
    parts = [asked.test_fraction, 1 - asked.test_fraction]
    if not asked.folds:
        parts += [asked.val_fraction, 1 - asked.test_fraction - asked.val_fraction]
    least = math.ceil((asked.folds or 2) / (1 - asked.test_fraction))  # so that each split gets some rows of each bin
    count = min(MAX_BINS, len(values) // 20, int(len(values) * min(part for part in parts if part)))
    return quantile_bins(values, count, least)


def quantile_bins(targets: np.ndarray, count: int, least: int) -> Tensor | None:
    """Return the quantile bin of each number (N,): at most `count` bins of at least `least` numbers each.

    Bins that are too small because of equal numbers are merged with the next; None if only one remains.
    """
    bounds = np.unique(np.quantile(targets, np.linspace(0, 1, max(1, count) + 1)[1:-1]))
    bins = np.digitize(targets, bounds)
    merged, size = np.zeros(len(bounds) + 1, dtype=np.int64), 0
    for place, rows in enumerate(np.bincount(bins, minlength=len(merged))):
        merged[place:] = merged[place] + (size >= least)
        size = rows + (0 if size >= least else size)
    if size < least and merged[-1]:  # merges the last bin with the one before
        merged[merged == merged[-1]] -= 1
    return torch.from_numpy(merged[bins]) if merged.max() > 0 else None
