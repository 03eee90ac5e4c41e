"""Choose seasons and the naive forecast to start from, by statistics of the training steps alone."""

from collections.abc import Sequence

import numpy as np

DAMPINGS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)
SHOWN = 0.95  # a season shows if values that far apart differ by less than this share of their neighbours' difference


def seen_seasons(values: np.ndarray, seasons: Sequence[int]) -> list[int]:
    """Return those of `seasons`, ascending, that values (S, T) show; the shortest always.

    A longer season, such as a week of hours, shows if values that far apart differ less than values one shorter season,
    a day, nearer or farther. If the series are too short to tell, it is kept.
    """
    shortest, chosen = seasons[0], [seasons[0]]
    for season in seasons[1:]:
        nearer, at, farther = (np.abs(difference(values, season + shift)) for shift in (-shortest, 0, shortest))
        if farther.shape[1] == 0 or not mean(at) > SHOWN * (mean(nearer) + mean(farther)) / 2:
            chosen.append(season)
    return chosen


def naive_anchor(values: np.ndarray, seasons: Sequence[int], context: int, horizon: int) -> tuple[int, float]:
    """Return the season and the damping of the naive forecast with the least absolute error on values (S, T).

    It repeats the last season and adds what the last value differs from that of a season before, times damping**lead,
    so that lead 1 does not jump: seasonal differences as an AR(1) (Box & Jenkins, "Time series analysis"). Season 1
    repeats the last value. Series that are too short to tell give the longest season, undamped.
    """
    best, least = (max(seasons), 0.0), np.inf
    leads = sorted({int(lead) for lead in np.linspace(1, horizon, 8)})
    for season in sorted({1, *(each for each in seasons if each < context)}):
        known = difference(values, season)
        for damping in DAMPINGS if season > 1 else (0.0,):
            errors = []
            for lead in leads:
                changed = difference(values, season * -(-lead // season))
                length = max(0, min(changed.shape[1], known.shape[1] - lead))
                before = known[:, known.shape[1] - lead - length : known.shape[1] - lead]
                errors.append(mean(np.abs(changed[:, changed.shape[1] - length :] - damping**lead * before)))
            if np.mean(errors) < least:
                best, least = (season, damping), float(np.mean(errors))
    return best


def difference(values: np.ndarray, lag: int) -> np.ndarray:
    """Return values (S, T) less those `lag` steps before, (S, T - lag), in units of each series' spread."""
    with np.errstate(invalid="ignore"):
        spread = np.array([np.std(row[~np.isnan(row)]) if not np.isnan(row).all() else 1.0 for row in values])
    spread = np.where(spread > 0, spread, 1.0)
    return (values[:, lag:] - values[:, : max(0, values.shape[1] - lag)]) / spread[:, None]


def mean(values: np.ndarray) -> float:
    """Mean of the values that are there; NaN if none is."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else np.nan
