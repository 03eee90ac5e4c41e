"""Covariates: columns beside the value that help to forecast it. They become channels of standardised numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
import pandas as pd
from torch import Tensor

from ..engine import RefusedError, refusal
from .table_values import is_numeric, need_columns, numbers, texts

MAX_CATEGORIES = 64


class Covariate(TypedDict):
    """A covariate as the model was trained with it; `categories` are None for numbers."""

    name: str
    kind: str  # past: known until a forecast begins; future: also for its steps; static: one value a series
    mean: float
    deviation: float
    categories: list[str] | None


class RawCovariate(NamedTuple):
    """A column of a file: `values` (N,), or (S, T) in a panel, are numbers or places in `categories`; NaN: no row."""

    name: str
    kind: str
    values: np.ndarray
    categories: list[str] | None


def read_covariates(frame: pd.DataFrame, columns: Mapping[str, Sequence[str]], path: Path) -> list[RawCovariate]:
    """Read the `columns` of each kind. An empty text is a category of its own, such as no holiday."""
    found = []
    for kind, names in columns.items():
        need_columns(frame, names, path, f"datamodule.{kind}_covariates")
        for name in names:
            if is_numeric(frame[name]):
                found.append(RawCovariate(name, kind, numbers(frame, name, path), None))
                continue
            codes, categories = pd.factorize(texts(frame, name).fillna(""), sort=True)
            found.append(RawCovariate(name, kind, codes.astype(np.float64), [str(each) for each in categories]))
    return found


def in_panel(raw: RawCovariate, place: tuple[np.ndarray, np.ndarray], shape: tuple[int, int]) -> RawCovariate:
    """Lay the values (N,) out at series and steps `place` (N,) each. A static one is that of the whole series.

    Raises RefusedError if a static one changes.
    """
    values = np.full(shape, np.nan)
    values[place] = raw.values
    if raw.kind == "static":
        least, most = np.fmin.reduce(values, 1), np.fmax.reduce(values, 1)
        if (least < most).any():
            raise refusal("datamodule.static_covariates", raw.name, "changes within a series; it is none")
        values = np.repeat(least[:, None], shape[1], 1)
    return raw._replace(values=values)


def learn(raws: Sequence[RawCovariate]) -> list[Covariate]:
    """Describe covariates by their values, those of the training steps; the others are NaN."""
    learnt: list[Covariate] = []
    for raw in raws:
        seen = raw.values[~np.isnan(raw.values)]
        mean, deviation, categories = 0.0, 1.0, None
        if raw.categories is not None:
            categories = [raw.categories[code] for code in np.unique(seen).astype(int)]
            if len(categories) > MAX_CATEGORIES:
                why = f"has {len(categories)} categories; expected at most {MAX_CATEGORIES}, or numbers"
                raise refusal(f"datamodule.{raw.kind}_covariates", raw.name, why)
        elif len(seen):
            mean, deviation = float(seen.mean()), float(seen.std())
            if deviation <= 1e-9 * np.abs(seen).max():  # constant, but for rounding
                deviation = 1.0
        learnt.append(Covariate(name=raw.name, kind=raw.kind, mean=mean, deviation=deviation, categories=categories))
    return learnt


def channels(raws: Sequence[RawCovariate], learnt: Sequence[Covariate]) -> np.ndarray:
    """Convert covariates to channels (V, S, T), float32: standardised numbers, and 0 or 1 for each category.

    A missing value repeats the last one of the series, or else is the mean. A category that the training lacks is none.
    """
    if (given := [(raw.name, raw.kind) for raw in raws]) != (known := [(one["name"], one["kind"]) for one in learnt]):
        raise RefusedError(f"datamodule: covariates are {given}; the model was trained with {known}")
    parts = []
    for raw, one in zip(raws, learnt, strict=True):
        if (raw.categories is None) != (one["categories"] is None):
            kinds = ("numbers", "texts") if raw.categories is None else ("texts", "numbers")
            raise RefusedError(f"datamodule: column {raw.name!r} holds {kinds[0]}; in the training it held {kinds[1]}")
        values = repeat_last(raw.values)
        if one["categories"] is None:
            parts.append(np.nan_to_num((values - one["mean"]) / one["deviation"]).astype(np.float32))
            continue
        for category in one["categories"]:
            code = raw.categories.index(category) if raw.categories and category in raw.categories else -1
            parts.append((values == code).astype(np.float32))
    return np.stack(parts)


def channel_kinds(learnt: Sequence[Covariate]) -> list[str]:
    """Return the kind of each channel (V,)."""
    return [one["kind"] for one in learnt for _ in (one["categories"] if one["categories"] is not None else [None])]


def repeat_last(values: np.ndarray) -> np.ndarray:
    """Replace missing values (S, T) by the last one before them."""
    last = np.where(np.isnan(values), 0, np.arange(values.shape[1]))
    return np.take_along_axis(values, np.maximum.accumulate(last, 1), 1)


def cut_covariates(covariates: Tensor, kinds: Sequence[str], series: Tensor, starts: Tensor, window: Tensor) -> Tensor:
    """Cut windows (B, C + H, V) of channels (V, S, T) around columns `starts` (B,); past ones are 0 from there on."""
    cut = covariates[:, series[:, None], starts[:, None] + window].permute(1, 2, 0).contiguous()
    past = [number for number, kind in enumerate(kinds) if kind == "past"]
    ahead = (window >= 0).nonzero()[:, 0]
    cut[:, ahead[:, None], past] = 0.0
    return cut
