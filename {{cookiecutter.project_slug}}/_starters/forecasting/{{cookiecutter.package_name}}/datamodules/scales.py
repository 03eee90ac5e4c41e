"""The scale of series: their unit of error, an offset that leaves float32 its digits, and the limits of both."""

import numpy as np
from torch import Tensor

from ..engine import RefusedError, log
from .panel import Panel


def centred(values: Tensor, context: int) -> tuple[Tensor, Tensor]:
    """Subtract an offset from values (B, T): the mean of the first `context`. Return both in float32.

    float32 keeps 7 digits: enough for the differences, but a wave of ±20 around 2e9 would be lost.
    """
    offset = values[:, :context].mean(1).float()
    return (values - offset.double()[:, None]).float(), offset


def rounded(quantiles: np.ndarray, offset: np.ndarray, least: float | None) -> np.ndarray:
    """Add the offsets (N,) to quantiles (N, H, Q); round to the digits that float32 had, and bound by `least`."""
    largest = np.abs(quantiles).max((1, 2))
    digits = 7 - np.ceil(np.log10(np.maximum(largest, 1e-30))).astype(int)
    whole = quantiles + offset[:, None, None]
    whole = np.stack([np.round(each, max(0, places)) for each, places in zip(whole, digits.tolist(), strict=True)])
    return whole if least is None else np.maximum(whole, least)


def check_precision(panel: Panel, scale: np.ndarray | None, key: str = "datamodule") -> None:
    """Raises RefusedError if values are too large, too small or too close together for the computations.

    float32 holds squares of 1e-15 to 1e17; of float64, 14 digits remain after centring. `scale` (S,) is the typical
    change of each series.
    """
    for row, name in enumerate(panel.names):
        values = panel.values[row][~np.isnan(panel.values[row])]
        if not len(values):
            continue
        if (largest := np.abs(values).max()) > 1e17:
            raise RefusedError(f"{key}: series {name!r} holds {largest:g}; expected at most 1e17: use a larger unit")
        if scale is None:
            continue
        if scale[row] < 1e-15:
            raise RefusedError(f"{key}: series {name!r} changes by {scale[row]:g}; expected 1e-15: use a smaller unit")
        if scale[row] < largest * 1e-13:
            why = f"values of {largest:g} that change by {scale[row]:g} can't be told apart; subtract a constant"
            raise RefusedError(f"{key}: series {name!r}: {why}")


def seasonal_error(panel: Panel, seasons: list[int]) -> np.ndarray:
    """Compute the mean absolute error of the seasonal-naive forecast with the longest season: (S,).

    This is the unit of MASE (Hyndman & Koehler, "Another look at measures of forecast accuracy", 2006). For a series
    that repeats itself each season, the error of the last value is used instead. Raises RefusedError if a series is
    constant, or has no two values a season apart.
    """
    before, season = panel.values, max(seasons)  # of the test
    scale, pairs = naive_error(before, season)
    last, _ = naive_error(before, 1)
    repeating = []
    for row, name in enumerate(panel.names):
        if scale[row] > 1e-6 * last[row]:
            continue
        if not pairs[row]:
            why = f"has no two values before the test that are a season of {season} steps apart"
            shorter = min(seasons) if len(seasons) > 1 else 1
            fix = f"; expected a longer one, or datamodule.seasons=[{shorter}]" if season > 1 else ""
            raise RefusedError(f"datamodule: series {name!r} {why}, so no error can be scaled by it{fix}")
        if not last[row] > 0:
            value = before[row][~np.isnan(before[row])][0]
            raise RefusedError(f"datamodule: series {name!r} is constant ({value:g}), so no error can be scaled by it")
        repeating.append(repr(name))
    if repeating:
        some = f"{', '.join(repeating[:3])}{', …' if len(repeating) > 3 else ''}"
        log.info(f"Series that repeat every {season} steps ({some}): the unit of MASE is the error of the last value")
    return np.where(scale > 1e-6 * last, scale, last).astype(np.float32)


def naive_error(values: np.ndarray, season: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean absolute difference of values (S, T) `season` steps apart, and the number of pairs, (S,) each."""
    errors = np.abs(values[:, season:] - values[:, :-season])
    pairs = (~np.isnan(errors)).sum(1)
    return np.nansum(errors, 1) / np.maximum(pairs, 1), pairs
