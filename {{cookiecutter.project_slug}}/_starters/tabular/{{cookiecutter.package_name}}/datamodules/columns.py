"""Choose the columns of a table that predict, encode them as tensors, and compute their statistics.

Numbers stay as they are. A category becomes a code, a hash of column and text, which is the same in any table. Only the
model maps the codes that it knows to rows of an embedding (`statistics`). A missing category is a category.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..engine import RefusedError, log
from ..models.features import BINS, NumberStatistics, Statistics, scaled, two_floats
from .dates import date_format, date_option, date_statistics, is_category, pair_names, part_name
from .kinds import counts_rows, epoch_unit, follows_rows, foreign, holds_dates
from .table_values import is_numeric, numbers, texts

MAX_EXACT = 2.0**53  # beyond it float64 does not hold each whole number
MAX_TEXTS = 1000  # a column with more texts holds names or ids, from which nothing can be learnt,
MAX_COMMON_TEXTS = 20_000  # unless each is in many rows on average
MIN_ROWS_PER_TEXT = 10


class Columns(NamedTuple):
    """Names of the columns that predict, in order."""

    numbers: list[str]
    categories: list[str]


class Wishes(NamedTuple):
    """How the user wants columns to be read; the values decide about the others."""

    columns: list[str] | None  # that predict; None: all others
    categories: list[str]
    numbers: list[str]
    dates: dict[str, str]  # their formats
    ordinal: dict[str, list[str]]  # texts, from the lowest


def find_dates(frame: pd.DataFrame, names: list[str], wishes: Wishes, path: Path, later: bool) -> Statistics:
    """Find the columns of dates among `names`; return them and the ordered columns, for `expanded` of dates.py.

    With `later`, predictions are asked of later rows than those trained on.
    """
    plain = {*wishes.categories, *wishes.numbers, *wishes.ordinal}
    found: Statistics = {"numbers": {}, "categories": {}}
    dates = {}
    for name in names:
        if name in wishes.dates or (name not in plain and holds_dates(frame[name])):
            form = wishes.dates.get(name) or date_format(frame[name], path)
            dates[name] = date_statistics(frame, form, name, path, later)
    ordinal = {name: [str(text) for text in order] for name, order in wishes.ordinal.items() if name in names}
    if dates:
        found["dates"] = dates
    if ordinal:
        found["ordinal"] = ordinal
    return found


def choose_columns(frame: pd.DataFrame, wishes: Wishes, others: list[str], dates: Statistics, path: Path) -> Columns:
    """Sort the columns wished for, or by default the `others`, into numbers and categories; log which are left out.

    The majority of a column's values decides. A column of `dates` gives its parts, with which `frame` is expanded.
    Raises RefusedError for columns of lists and the like, and for texts among numbers.
    """
    named = wishes.columns
    names = [name for name in (others if named is None else named) if name not in dates.get("dates", {})]
    refuse_foreign(frame, [name for name in names if name not in wishes.categories], path)
    chosen, counters = Columns([], []), []
    for name in names:
        ordinal = name in dates.get("ordinal", {})
        numeric = ordinal or name in wishes.numbers or (name not in wishes.categories and is_numeric(frame[name]))
        if named is None and is_constant(frame[name]):
            log.warning(f"Column {name!r} is left out: it has a single value")
        elif numeric and not ordinal and is_counter(frame, name, path):
            counters.append(name)
        elif numeric:
            chosen.numbers.append(name)
        elif named is None and (count := texts(frame, name).nunique()) > max_texts(len(frame)):
            log.warning(f"Column {name!r} is left out: it has {count:,} texts (datamodule.columns can name it)")
        else:
            chosen.categories.append(name)
    _place(counters, chosen, named)
    for name in chosen.numbers:
        if name in counters or (name not in dates.get("ordinal", {}) and follows_rows(numbers(frame, name, path))):
            how = "numbers the rows" if name in counters else "rises or falls from row to row, as identifiers do"
            why = "a model may learn the order of the rows from it"
            log.warning(f"Column {name!r} {how}: {why}; datamodule.drop=[{name}] leaves it out")
        if name not in dates.get("ordinal", {}) and (unit := epoch_unit(numbers(frame, name, path))):
            log.info(f"Is column {name!r} a Unix time? It is a number; {date_option(name, unit)} makes it a date")
    _add_dates(chosen, dates)
    if not any(chosen):
        raise RefusedError("datamodule.columns: no column is left to predict the target from")
    return chosen


def _add_dates(chosen: Columns, statistics: Statistics) -> None:
    """Add the parts of dates to the columns that predict; log them."""
    dates = statistics.get("dates", {})
    for name, each in dates.items():
        for part in each["parts"]:
            (chosen.categories if is_category(part) else chosen.numbers).append(part_name(name, part))
        log.info(f"Column {name!r} holds dates ({each['format']}): {', '.join(each['parts']) or 'all are the same'}")
    chosen.numbers.extend(pair_names(dates))


def sources(chosen: Columns, statistics: Statistics) -> list[str]:
    """Return the columns of the file that the chosen columns come from: those of dates instead of their parts."""
    dates = statistics.get("dates", {})
    made = {part_name(name, part) for name, each in dates.items() for part in each["parts"]} | {*pair_names(dates)}
    return [*(name for name in (*chosen.numbers, *chosen.categories) if name not in made), *dates]


def max_texts(rows: int) -> int:
    """Return how many different texts a column of a table may have to be a category by default."""
    return max(min(MAX_TEXTS, rows // 2), min(MAX_COMMON_TEXTS, rows // MIN_ROWS_PER_TEXT))


def is_counter(frame: pd.DataFrame, name: str, path: Path) -> bool:
    """Return True if a column of numbers only identifies rows.

    Texts in the frame are replaced by the numbers that they are, so that they are parsed once, unless float64 holds
    fewer digits.
    """
    values = numbers(frame, name, path, hint(name))
    counts = counts_rows(frame[name], values)
    if frame[name].dtype.kind not in "iuf" and not (np.abs(values) >= MAX_EXACT).any():
        frame[name] = values
    return counts


def is_constant(values: pd.Series) -> bool:
    """Return True if a column has a single value, where "missing" counts as a value."""
    return (values.map(str) if values.dtype == object else values).nunique(dropna=False) < 2


def _place(counters: list[str], chosen: Columns, named: list[str] | None) -> None:
    """Leave out row counters, unless they were named or nothing else remains."""
    if named is not None or not any(chosen):
        chosen.numbers.extend(counters)
        return
    for name in counters:
        log.warning(f"Column {name!r} is left out: it numbers the rows (datamodule.columns can name it)")


def refuse_foreign(frame: pd.DataFrame, names: list[str], path: Path) -> None:
    """Raises RefusedError for columns of durations, lists or bytes, which are not supported."""
    kinds = {name: kind for name in names if (kind := foreign(frame[name]))}
    if kinds:
        columns = ", ".join(f"column {name!r} holds {kind}" for name, kind in kinds.items())
        raise RefusedError(
            f"{path}: {columns}; expected numbers, categories or dates: omit with datamodule.drop=[{','.join(kinds)}], "
            f"or convert to numbers in the file"
        )


def hint(name: str) -> str:
    """Advice for a text in a column of numbers."""
    return f"; if the column holds texts: datamodule.categories=[{name}]; to leave it out: datamodule.drop=[{name}]"


def encode(
    frame: pd.DataFrame, chosen: Columns, path: Path, known: Mapping[str, Mapping[str, int]] | None = None
) -> tuple[Tensor, Tensor]:
    """Encode numbers (N, F, 2) as two_floats, NaN if missing, and categories (N, C) as int64 codes.

    `known` are the categories of a trained model by column; a file may write its booleans differently.
    """
    pairs = [two_floats(torch.tensor(numbers(frame, name, path))) for name in chosen.numbers]
    codes = []
    for name in chosen.categories:
        column = as_known(texts(frame, name), (known or {}).get(name))
        places, values = pd.factorize(column, use_na_sentinel=False)
        codes.append(torch.tensor([code(name, text) for text in values], dtype=torch.int64)[torch.from_numpy(places)])
    size = len(frame)
    return (
        torch.stack(pairs, 1) if pairs else torch.empty(size, 0, 2),
        torch.stack(codes, 1) if codes else torch.empty(size, 0, dtype=torch.int64),
    )


def as_known(values: pd.Series, known: Mapping[str, int] | None) -> pd.Series:
    """Replace 1 and 0 by True and False, or the reverse, if all `known` texts are of the other kind."""
    for words in ({"1": "True", "0": "False"}, {"True": "1", "False": "0"}):
        if known and {*known} - {""} <= {*words.values()}:
            return values.map(lambda text: words.get(text, text), na_action="ignore")  # noqa: B023 (used at once)
    return values


def code(column: str, text: Any) -> int:
    """Hash a text in a column to 63 bits; NaN means missing."""
    key = repr((column, None if pd.isna(text) else text)).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1


def number_statistics(training: pd.DataFrame, chosen: Columns, path: Path) -> dict[str, NumberStatistics]:
    """Compute the NumberStatistics of each column of numbers."""
    statistics: dict[str, NumberStatistics] = {}
    for name in chosen.numbers:
        values = numbers(training, name, path)
        values = values[~np.isnan(values)] if not np.isnan(values).all() else np.array([0.0, 1.0])
        lower, middle, upper = np.quantile(values, [0.25, 0.5, 0.75])
        iqr = float(upper - lower) or spread(values)
        check_precision(training[name], values, middle, iqr, path)
        statistics[name] = {"median": float(middle), "spread": iqr, "edges": bin_edges(values)}
    return statistics


def bin_edges(values: np.ndarray) -> list[float]:
    """Return the different values (N,) if they are few, else their quantiles, each once, from minimum to maximum."""
    different = np.unique(values)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1))) if len(different) > BINS + 1 else different
    return edges.tolist()


def spread(values: np.ndarray) -> float:
    """Return the standard deviation, or 1 if it is 0."""
    return float(values.std()) or 1.0


def check_precision(column: pd.Series, values: np.ndarray, centre: float, spread: float, path: Path) -> None:
    """Raises RefusedError if most of a column's distinct values are equal in the precision of a network."""
    pairs = two_floats(torch.from_numpy(np.unique(values))[:, None])
    seen = scaled(pairs, two_floats(torch.tensor([centre], dtype=torch.float64)), torch.tensor([spread])).unique()
    different = column.nunique()
    if len(seen) < different / 2 or not seen.isfinite().all():
        raise RefusedError(
            f"{path}, column {column.name!r}: of {different:,} different values {len(seen):,} can be told apart in the "
            f"precision of a network; leave the column out, or subtract {centre:.17g} from all in the file"
        )


def category_statistics(training: pd.DataFrame, chosen: Columns) -> dict[str, dict[str, int]]:
    """Return the known texts of each category column, and their codes; a missing category is the text ''."""
    statistics = {}
    for name in chosen.categories:
        values = sorted(texts(training, name).unique(), key=str)
        statistics[name] = {"" if pd.isna(text) else text: code(name, text) for text in values}
    return statistics


def unfamiliar(
    inputs: tuple[Tensor, Tensor], chosen: Columns, statistics: Statistics, frame: pd.DataFrame | None = None
) -> list[str]:
    """Describe columns with numbers (N, F, 2) outside the training range, or categories (N, C) unknown to it.

    With the `frame` of these rows, the first unknown category is named.
    """
    lines, size = [], len(inputs[0])
    for values, name in zip(inputs[0].double().sum(-1).unbind(1), chosen.numbers, strict=True):
        edges = statistics["numbers"][name]["edges"]
        low, high = edges[0], edges[-1]
        if count := int(((values < low) | (values > high)).sum()):
            part = f"{count:,} of {size:,} values ({count / size:.1%})"
            lines.append(f"Column {name!r}: {part} are outside the training's range, {low:.10g} to {high:.10g}")
    for codes, name in zip(inputs[1].unbind(1), chosen.categories, strict=True):
        known = torch.tensor(list(statistics["categories"][name].values()), dtype=torch.int64)
        unknown = ~torch.isin(codes, known)
        if count := int(unknown.sum()):
            part = f"{count:,} of {size:,} values ({count / size:.1%})"
            first = "" if frame is None else texts(frame, name)[unknown.numpy()].fillna("no value").iloc[0]
            first = first and f" (the first: {first!r})"
            lines.append(f"Column {name!r}: {part} are categories that the training did not have{first}")
    return lines
