"""Baselines for forecasting on the same test windows: the season before, and exponential smoothing.

All predict quantiles. Exponential smoothing is ETS(A,N,A) of statsmodels with a season of a week and of a day, on
counts and on their logarithm (Hyndman et al., "Forecasting with exponential smoothing", 2008). As ETS is fitted to one
step ahead, simple smoothing of each hour of the week, fitted to errors a week ahead, is added. Parameters are fitted
for each series before the test. States are then updated through the test: a forecast knows all values before its
window, while the network sees two weeks.
"""

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

METRIC = "mase"
HIGHER_IS_BETTER = False
MARGIN = 0.05  # in units of the seasonal-naive error
PLOT = "forecasts"  # of the run, shown in the README
README = "MASE {mean:.3f} (exponential smoothing {smoothed hours of the week:.2f})"
LEVELS = np.arange(1, 10) / 10
RATES = np.arange(1, 21) / 20  # smoothing rates to try
FITTED = 24 * 7 * 26  # hours before the test to which parameters are fitted


def baselines(datamodule: Any) -> dict[str, float]:
    """MASE of each baseline on the test windows; `scores` has the weighted quantile loss too."""
    return {name: values["mase"] for name, values in scores(datamodule).items()}


def scores(datamodule: Any) -> dict[str, dict[str, float]]:
    """Metrics of each baseline, the same as those of the model's test."""
    series, begins, targets = windows(datamodule)
    ways: dict[str, Any] = {
        "season before": lambda row, at: smoothed_weeks(datamodule, row, at, rates=[1.0]),
        "smoothed hours of the week": lambda row, at: smoothed_weeks(datamodule, row, at, rates=RATES),
    }
    for season, logs in ((168, False), (168, True), (24, False)):
        name = f"ETS, {season} hours" + (", of logarithms" if logs else "")
        ways[name] = lambda row, at, season=season, logs=logs: smoothed(datamodule, row, at, season, logs)
    results = {}
    for name, way in ways.items():
        forecasts = np.empty((*targets.shape, len(LEVELS)))
        for row in np.unique(series):
            forecasts[series == row] = way(row, begins[series == row])
        results[name] = measured(forecasts, targets, datamodule.scale[series])
    return results


def windows(datamodule: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Series (N,), column of the first target (N,), and targets (N, H) of each test window."""
    places = datamodule.splits["test"][0].numpy()
    ahead = np.arange(datamodule.facts["horizon"])
    targets = datamodule.panel.values.ravel()[places[:, None] + ahead].astype(np.float64)
    return *np.divmod(places, datamodule.panel.values.shape[1]), targets


def measured(forecasts: np.ndarray, targets: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    errors = targets[..., None] - forecasts
    losses = 2 * np.maximum(LEVELS * errors, (LEVELS - 1) * errors)
    inside = (targets >= forecasts[..., 0]) & (targets <= forecasts[..., -1])
    return {
        "mase": float((np.abs(errors[..., 4]) / scale[:, None]).mean()),
        "wql": float((losses.sum((0, 1)) / np.abs(targets).sum()).mean()),
        "coverage": float(inside.mean()),
    }


def begin_of_test(datamodule: Any) -> int:
    length = datamodule.panel.values.shape[1]
    return length - round(length * datamodule.test_fraction)


def smoothed_weeks(datamodule: Any, row: int, at: np.ndarray, rates: Any) -> np.ndarray:
    """Forecast (n, H, Q) by smoothing each hour of the week at the best of `rates`; rate 1 repeats the week before.

    The quantiles are those of its errors before the test.
    """
    values, season = datamodule.panel.values[row].astype(np.float64), max(datamodule.facts["seasons"])
    first, begin = int(np.flatnonzero(~np.isnan(values))[0]), begin_of_test(datamodule)
    best, errors = np.empty(0), np.full(1, np.inf)
    for rate in rates:
        expected = np.full(len(values), np.nan)  # from what is known a season before
        state = values[first : first + season].copy()
        for here in range(first + season, len(values), season):
            expected[here : here + season] = state[: len(values) - here]
            new = values[here : here + season]
            change = np.nan_to_num(new - state[: len(new)])
            state[: len(new)] += rate * change
        made = (values - expected)[:begin]
        if np.nanmean(np.abs(made)) < np.nanmean(np.abs(errors)):
            best, errors = expected, made
    spread = np.nanquantile(errors, LEVELS)
    spread -= spread[4]  # the median is the forecast itself
    return best[at[:, None] + np.arange(datamodule.facts["horizon"])][..., None] + spread


def smoothed(datamodule: Any, row: int, at: np.ndarray, season: int, logs: bool) -> np.ndarray:
    """Quantiles (n, H, Q) of ETS(A,N,A), from its states before each column in `at` (n,)."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    values = pd.Series(datamodule.panel.values[row].astype(np.float64)).interpolate(limit_direction="forward").dropna()
    first = int(values.index[0])
    values = np.log1p(values.to_numpy()) if logs else values.to_numpy()
    begin, at = begin_of_test(datamodule) - first, at - first
    start = max(0, begin - FITTED)
    options = {"error": "add", "seasonal": "add", "seasonal_periods": season, "initialization_method": "heuristic"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = ETSModel(values[start:begin], **options).fit(disp=False, maxiter=50)
        after = ETSModel(values[start:], **options).smooth(fitted.params)
    alpha, gamma = fitted.smoothing_level, fitted.smoothing_seasonal
    level, seasonal = np.asarray(after.level), np.asarray(after.season)
    ahead = np.arange(1, datamodule.facts["horizon"] + 1)
    last = at - start - 1  # last known value
    same = (ahead - 1) % season - (season - 1)  # offset of the same hour in the last season
    middle = level[last][:, None] + seasonal[last[:, None] + same]
    weights = np.concatenate([[1.0], np.square(alpha + gamma * (ahead[:-1] % season == 0))])
    deviation = math.sqrt(float(np.mean(np.square(fitted.resid)))) * np.sqrt(np.cumsum(weights))
    quantiles = middle[..., None] + deviation[:, None] * norm.ppf(LEVELS)
    return np.expm1(quantiles) if logs else quantiles
