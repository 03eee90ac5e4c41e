"""Append the series of a test file to those of the training file: by name, and behind the values of the latter."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..engine import refusal
from .covariates import RawCovariate
from .panel import Panel, too_large


class Layout(NamedTuple):
    """Place of two panels in a joined one of `shape` (S, T): rows (S2,) of the second, and the first columns of both.

    Those of the second are used from column `ends` (S,) on.
    """

    shape: tuple[int, int]
    rows: np.ndarray
    own: int
    later: int
    ends: np.ndarray

    def fill(self, own: np.ndarray, later: np.ndarray, empty: float | bool = np.nan) -> np.ndarray:
        """Lay `own` (S1, T1) and `later` (S2, T2) out (S, T); cells of neither are `empty`."""
        whole = np.full(self.shape, empty, own.dtype)
        whole[: len(own), self.own : self.own + own.shape[1]] = own
        for row, values in zip(self.rows, later, strict=True):
            known = max(0, int(self.ends[row]) - self.later)
            whole[row, self.later + known : self.later + len(values)] = values[known:]
        return whole


def joined(own: Panel, later: Panel, path: Path) -> tuple[Panel, range, np.ndarray]:
    """Append `later`, from the file `path`: the panel, the columns of `own`, and where what is added begins (S,).

    A series of both has the values of `own` until it ends, and those of `later` from there on; other series of `later`
    are added whole, and begin at 0. Raises RefusedError if the two contradict each other, or if nothing is added.
    """
    if (own.clock.zoned, own.clock.local) != (later.clock.zoned, later.clock.local):
        raise refusal("datamodule.test", path, "its times are not written as those of root; expected the same form")
    names = list(dict.fromkeys([*own.names, *later.names]))
    places = {name: row for row, name in enumerate(names)}
    first = min(own.first, later.first)
    length = max(each.first + each.values.shape[1] for each in (own, later)) - first
    if why := too_large(len(names), length, len(own.covariates)):
        raise refusal("datamodule.test", path, f"its times and those of root {why}")
    there = ~np.isnan(own.values)
    known = np.where(there.any(1), own.first - first + there.shape[1] - there[:, ::-1].argmax(1), 0)
    ends = np.concatenate([known, np.zeros(len(names) - len(known), np.int64)])
    rows = np.array([places[name] for name in later.names])
    layout = Layout((len(names), length), rows, own.first - first, later.first - first, ends)
    values = layout.fill(own.values, later.values)
    _check_values(values, layout, later, path)
    filled = None
    if own.filled is not None and later.filled is not None:
        filled = layout.fill(own.filled, later.filled, False)
    covariates = [_covariate(*pair, layout) for pair in zip(own.covariates, later.covariates, strict=True)]
    zones = {name: zone for each in (own, later) for name, zone in zip(each.names, each.clock.zones, strict=False)}
    clock = own.clock._replace(zones=tuple(zones[name] for name in names if name in zones))
    whole = own._replace(names=names, values=values, first=first, clock=clock, covariates=covariates, filled=filled)
    return whole, range(layout.own, layout.own + own.values.shape[1]), ends


def _check_values(values: np.ndarray, layout: Layout, later: Panel, path: Path) -> None:
    """Raises RefusedError if a value differs from that of root at the same time, or if none is added."""
    here = values[layout.rows, layout.later : layout.later + later.values.shape[1]]
    made = False if later.filled is None else later.filled
    differ = ~np.isnan(here) & ~np.isnan(later.values) & ~np.isclose(here, later.values, rtol=1e-6) & ~np.asarray(made)
    if differ.any():
        row, column = np.argwhere(differ)[0]
        label = later.label(int(row), later.step.times(np.array([later.first + column]))[0])
        why = f"{label}: its value is {later.values[row, column]:g}, that of root {here[row, column]:g}"
        raise refusal("datamodule.test", path, f"{why}; expected other names for other series, in datamodule.series")
    if not (~np.isnan(values) & (np.arange(values.shape[1]) >= layout.ends[:, None])).any():
        raise refusal("datamodule.test", path, "adds no value; expected later ones than root's, or other series")


def _covariate(own: RawCovariate, later: RawCovariate, layout: Layout) -> RawCovariate:
    """Append the values of a covariate; categories that root lacks follow its own."""
    if (own.categories is None) != (later.categories is None):
        why = "holds texts in one of root and datamodule.test, and numbers in the other"
        raise refusal(f"datamodule.{own.kind}_covariates", own.name, why)
    if own.categories is None or later.categories is None:
        return own._replace(values=layout.fill(own.values, later.values))
    categories = list(dict.fromkeys([*own.categories, *later.categories]))
    codes = np.array([*map(categories.index, later.categories), np.nan])  # the last one is of NaN
    there = ~np.isnan(later.values)
    return own._replace(
        values=layout.fill(own.values, codes[np.where(there, later.values, -1).astype(np.int64)]), categories=categories
    )
