"""Choose seasons and the naive forecast to start from, by statistics of the training steps alone."""

from collections.abc import Sequence

import numpy as np

DAMPINGS = (0.5, 0.8, 0.9, 0.95, 0.98)
SHOWN = 0.95  # a season, or a damped forecast, counts if its error is below this share of the others'


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


def naive_anchor(values: np.ndarray, seasons: Sequence[int], context: int, horizon: int) -> tuple[int | None, float]:
    """Return the season and the damping of the naive forecast with the least absolute error on values (S, T).

    It repeats the last season and adds what the last value differs from that of a season before, times damping**lead,
    so that lead 1 does not jump: seasonal differences as an AR(1) (Box & Jenkins, "Time series analysis"). It is damped
    only if that is clearly better. Season 1 repeats the last value. Series that are too short to tell give the longest
    season that fits into the history, or None.
    """
    leads = sorted({int(lead) for lead in np.linspace(1, horizon, 8)})
    fitting = [season for season in seasons if 1 < season <= context]
    longer = [season for season in fitting if season < context]  # which have a value a season before the last
    plain = {(season, 0.0): naive_error(values, season, 0.0, leads) for season in (1, *fitting)}
    damped = {(season, one): naive_error(values, season, one, leads) for season in longer for one in DAMPINGS}
    best = min(plain, key=lambda key: plain[key])
    better = min(damped, key=lambda key: damped[key], default=best)
    if np.isinf(plain[best]):
        return max(fitting, default=None), 0.0
    return better if damped and damped[better] < SHOWN * plain[best] else best


def naive_error(values: np.ndarray, season: int, damping: float, leads: Sequence[int]) -> float:
    """Mean absolute error of a naive forecast of values (S, T) at some leads; infinite if they are too short."""
    known, errors = difference(values, season), []
    for lead in leads:
        changed = difference(values, season * -(-lead // season))
        length = max(0, min(changed.shape[1], known.shape[1] - lead))
        before = known[:, known.shape[1] - lead - length : known.shape[1] - lead]
        errors.append(mean(np.abs(changed[:, changed.shape[1] - length :] - damping**lead * before)))
    return float(np.nan_to_num(np.mean(errors), nan=np.inf))


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
