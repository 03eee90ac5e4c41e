"""Read series from a table into a panel: one row per series, one column per time step, NaN for missing values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from ..engine import RefusedError, log, refusal
from .covariates import RawCovariate, in_panel, read_covariates
from .memory import free_memory
from .splits import SPLIT_NAMES
from .steps import UNITS, Step, infer_step
from .table_files import BYTES_PER_VALUE
from .table_values import is_numeric, need_columns, numbers, texts
from .times import Clock, read_times, refused

MAX_VALUES = 2**28  # 2 GB: a few rows far apart in time would fill the memory
BLOCK_STEPS = 8  # hashed together, to recognise training data
SPLITS = ("train", "val", "test")
Gaps = Literal["refuse", "interpolate", "skip"]


class Panel(NamedTuple):
    """`values` (S, T) as float64; the first column is step number `first`, counted from 1970 (see steps.py).

    `filled` (S, T) is True for values that were interpolated.
    """

    names: list[str]
    values: np.ndarray
    first: int
    step: Step
    clock: Clock = Clock()
    covariates: Sequence[RawCovariate] = ()
    filled: np.ndarray | None = None
    bounds: tuple[int, int] | None = None  # the columns at which validation and test begin, where the file says so

    def label(self, row: int, time: pd.Timestamp) -> str:
        """Return series and time, however the file writes times: in UTC, marked with Z, if they have a zone."""
        zone = "Z" if self.clock.zoned and not self.clock.local else ""
        whole_minutes = self.step.calendar or self.step.length % UNITS["min"] == 0
        return f"{self.names[row]} {time.strftime('%Y-%m-%d %H:%M' + ('' if whole_minutes else ':%S.%f'))}{zone}"


class Columns(NamedTuple):
    """Column names of a table; `time_format` is for strftime, None for ISO 8601.

    In a `wide` table every column is a series, except those of times, of the `split` and of `covariates` of each kind.
    """

    time: str
    value: str
    series: str | None = None
    time_format: str | None = None
    wide: bool = False
    split: str | None = None
    covariates: Mapping[str, Sequence[str]] = {}


def read_panel(
    frame: pd.DataFrame, columns: Columns, path: Path, gaps: Gaps, *,
    ahead: bool = False, splits: Sequence[str] = SPLITS, step: Step | None = None,
) -> Panel:  # fmt: skip
    """Read the series of a long table, which has one row per series and time, or of a wide one, with a column a series.

    Rows after the last value of a series may lack it: they hold future covariates, and are kept only if they are
    looked `ahead` to. A column of splits names `splits`; it is not read if there are none. The step is inferred, unless
    it is given. Raises RefusedError, with file, row and column, if a time or value can't be read, if times are
    unordered, repeated or off the grid of the common step, or, with `gaps` set to refuse, if a step or its value is
    missing.
    """
    need_columns(frame, [columns.time], path, "datamodule.time")
    panel = (read_wide if columns.wide else read_long)(frame, columns, path, gaps, step)
    if gaps == "interpolate":
        panel = filled(panel, path)
    if columns.split and splits and not ahead:
        panel = panel._replace(bounds=read_bounds(frame, columns, path, panel, splits))
    if ahead or not (there := ~np.isnan(panel.values).all(0)).any():
        return panel
    end = int(np.flatnonzero(there)[-1]) + 1
    cut = [each._replace(values=each.values[:, :end]) for each in panel.covariates]
    return panel._replace(
        values=panel.values[:, :end], covariates=cut, filled=None if panel.filled is None else panel.filled[:, :end]
    )


def read_long(frame: pd.DataFrame, columns: Columns, path: Path, gaps: Gaps, step: Step | None) -> Panel:
    need_columns(frame, [columns.value], path, "datamodule.value")
    need_columns(frame, [columns.series] if columns.series else [], path, "datamodule.series")
    times, zones, clock = read_times(frame, columns.time, columns.time_format, path)
    values, raws = numbers(frame, columns.value, path), read_covariates(frame, columns.covariates, path)
    rows, names = pd.factorize(texts(frame, columns.series) if columns.series else np.zeros(len(frame), np.int64))
    if (unnamed := rows < 0).any():
        raise refused(frame, path, unnamed, str(columns.series), "the series is not named")
    if not columns.series:
        check_one_series(frame, times, columns, path)
    order = np.argsort(rows, kind="stable")
    frame, times, values, rows = frame.iloc[order], times[order], values[order], rows[order]
    same = rows[1:] == rows[:-1]
    if gaps == "refuse" and (missing := np.isnan(values) & ~after_last(values, rows, bool(raws))).any():
        raise refused(frame, path, missing, columns.value, f"no value is there; {remedy()}")
    step, counts = read_steps(frame, times, same, columns, path, gaps, len(names), step)
    place, shape = (rows, counts - counts.min()), (len(names), int(np.ptp(counts)) + 1)
    panel = np.full(shape, np.nan)
    panel[place] = values
    if zones is not None:
        if len(each := sorted(set(zones))) > 1:
            log.info(
                f"{path}: its times are in several zones ({', '.join(each)}); a forecast gets its series' last one"
            )
        clock = clock._replace(zones=tuple(zones[order][np.append(~same, True)]))
    covariates = [in_panel(raw._replace(values=raw.values[order]), place, shape) for raw in raws]
    series = [str(name) for name in names] if columns.series else [columns.value]
    return Panel(series, panel, counts.min(), step, clock, covariates)


def read_wide(frame: pd.DataFrame, columns: Columns, path: Path, gaps: Gaps, step: Step | None) -> Panel:
    """Read a table with a column a series; each begins at its first value and ends at its last one."""
    shared = {columns.time, columns.split, *(name for names in columns.covariates.values() for name in names)}
    names = [name for name in frame.columns if name not in shared]
    if not names:
        raise RefusedError(f"{path}: no column is a series; there are {', '.join(map(str, frame.columns))}")
    times, zones, clock = read_times(frame, columns.time, columns.time_format, path)
    raws = read_covariates(frame, columns.covariates, path)
    same = np.ones(len(frame) - 1, bool)
    step, counts = read_steps(frame, times, same, columns, path, gaps, len(names), step)
    panel = np.full((len(names), int(np.ptp(counts)) + 1), np.nan)
    for row, name in enumerate(names):
        values = numbers(frame, name, path)
        there = np.flatnonzero(~np.isnan(values))
        if not len(there):
            raise RefusedError(f"{path}: column {name!r} holds no value; remove it")
        inside = slice(there[0], there[-1] + 1)
        if gaps == "refuse" and np.isnan(values[inside]).any():
            missing = np.isnan(values) & (np.arange(len(values)) > there[0]) & (np.arange(len(values)) < there[-1])
            raise refused(frame, path, missing, name, f"no value is there; {remedy()}")
        panel[row, counts - counts.min()] = values
    if zones is not None:
        clock = clock._replace(zones=(zones[-1],) * len(names))
    shape = (1, panel.shape[1])
    place = (np.zeros(len(frame), np.int64), counts - counts.min())
    each = [in_panel(raw, place, shape) for raw in raws]
    covariates = [raw._replace(values=np.broadcast_to(raw.values, panel.shape)) for raw in each]
    return Panel([str(name) for name in names], panel, counts.min(), step, clock, covariates)


def read_bounds(
    frame: pd.DataFrame, columns: Columns, path: Path, panel: Panel, expected_splits: Sequence[str]
) -> tuple[int, int]:
    """Return the columns of the panel at which validation and test begin, by a column of splits.

    Raises RefusedError if they do not follow each other in time.
    """
    name = str(columns.split)
    need_columns(frame, [name], path, "datamodule.split")
    words = texts(frame, name)
    splits = words.str.lower().map(SPLIT_NAMES)
    values = 0.0 if columns.wide else numbers(frame, columns.value, path)
    wrong = (splits.isna() & ~(np.isnan(values) & words.isna())).to_numpy()  # rows ahead may have neither
    if wrong.any():
        raise refused(frame, path, wrong, name, f"{words[wrong].iloc[0]!r} is no split; expected train, val or test")
    at = panel.step.number(read_times(frame, columns.time, columns.time_format, path).at) - panel.first
    begins = {split: at[(splits == split).to_numpy()] for split in SPLITS}
    if gone := [split for split in expected_splits if not len(begins[split])]:
        raise refusal("datamodule.split", name, f"no row is of {gone[0]}; expected {' and '.join(expected_splits)}")
    if len(begins["test"]) and "test" not in expected_splits:
        raise refusal("datamodule.split", name, "rows are of test, and so is the file datamodule.test; expected one")
    val = int(begins["val"].min())
    test = int(begins["test"].min()) if len(begins["test"]) else panel.values.shape[1]
    expected = np.where(at < val, "train", np.where(at < test, "val", "test"))
    if (mixed := (splits.notna() & (splits != expected)).to_numpy()).any():
        why = "its time is that of another split; expected train before val before test, alike in all series"
        raise refused(frame, path, mixed, name, why)
    return val, test


def after_last(values: np.ndarray, rows: np.ndarray, allowed: bool) -> np.ndarray:
    """Return True for values (N,) after the last one that is there of their series, `rows` (N,) ascending."""
    last = np.full(rows.max() + 1, -1)
    there = np.flatnonzero(~np.isnan(values))
    np.maximum.at(last, rows[there], there)
    return allowed & (np.arange(len(values)) > last[rows]) & (last[rows] >= 0)


def read_steps(
    frame: pd.DataFrame, times: pd.DatetimeIndex, same: np.ndarray,
    columns: Columns, path: Path, gaps: Gaps, series: int, step: Step | None,
) -> tuple[Step, np.ndarray]:  # fmt: skip
    """Infer the step of ascending times (N,), unless given, and number them (N,). Raises RefusedError if one is off."""
    check_order(frame, times, same, columns, path)
    step = step or infer_step(times, same)
    if step is None:
        raise RefusedError(f"{path}: each series has only one row; expected several to forecast from")
    counts = step.number(times)
    check_grid(frame, times, counts, same, step, columns, path, gaps)
    span, covariates = int(np.ptp(counts)) + 1, sum(map(len, columns.covariates.values()))
    if why := too_large(series, span, covariates):
        raise RefusedError(f"{path}: from {times.min()} to {times.max()} in steps of {step.name} {why}")
    return step, counts


def filled(panel: Panel, path: Path) -> Panel:
    """Interpolate gaps within series linearly, and log how many."""
    values = panel.values
    whole = pd.DataFrame(values.T).interpolate(limit_area="inside").to_numpy(np.float64, copy=True).T
    made = np.isnan(values) & ~np.isnan(whole)
    if count := int(made.sum()):
        log.info(f"{path}: {count:,} of {values.size:,} values are interpolated; the test includes them")
    return panel._replace(values=np.ascontiguousarray(whole), filled=made)


def check_one_series(frame: pd.DataFrame, times: pd.DatetimeIndex, columns: Columns, path: Path) -> None:
    """Raises RefusedError if times repeat as those of several series do: in a tenth of the rows or more."""
    repeated = times.duplicated(keep=False)
    if repeated.mean() < 0.1 or repeated.sum() < 3:
        return
    number = int(pd.Series(times).value_counts().max())
    here = frame.index[times == times[int(repeated.argmax())]][:3]
    example = f"{frame[columns.time].loc[here[0]]} in rows {', '.join(map(str, here))}"
    why = f"{path} has up to {number} rows for each {columns.time} ({example})"
    others = [name for name in frame.columns if name not in (columns.time, columns.value)]
    columns_of_texts = {name: texts(frame, name) for name in others}
    candidates = [name for name, values in columns_of_texts.items() if tells_apart(values, times)]
    candidates.sort(key=lambda name: (is_numeric(frame[name]), columns_of_texts[name].nunique()))
    fix = f"expected the column that tells its series apart: datamodule.series={' or '.join(candidates[:3])}"
    if not candidates:
        fix = f"no column of {', '.join(others[:10]) or 'its own'} tells its series apart; expected each time once"
    elif any(is_numeric(frame[name]) for name in candidates):  # such as an hour beside a column of days
        fix += "; or a column with the whole time"
    raise refusal("datamodule.series", None, f"{why}; {fix}")


def tells_apart(values: pd.Series, times: pd.DatetimeIndex) -> bool:
    """Return True if no time occurs twice with the same value, and each value occurs twice or more on average."""
    pairs = pd.DataFrame({"time": times, "value": values.to_numpy()})
    return 2 * values.nunique() <= len(values) and not pairs.duplicated().any()


def check_order(frame: pd.DataFrame, times: pd.DatetimeIndex, same: np.ndarray, columns: Columns, path: Path) -> None:
    """Raises RefusedError if the times of a series do not ascend."""
    later = np.concatenate([[True], ~same | (times[1:] > times[:-1])])
    if not later.all():
        place = int(later.argmin())
        twice = times[place] == times[place - 1]
        previous, time = frame[columns.time].iloc[place - 1 : place + 1].tolist()
        why = "is there twice" if twice else f"comes after {previous}; expected ascending times"
        hint = " (local times? one hour in autumn is there twice; expected UTC)" if twice else ""
        series = "" if columns.series or not twice else "; several series? datamodule.series=<column>"
        raise refused(frame, path, ~later, columns.time, f"{time} {why}{hint}{series}")


def check_grid(
    frame: pd.DataFrame, times: pd.DatetimeIndex, counts: np.ndarray, same: np.ndarray, step: Step,
    columns: Columns, path: Path, gaps: Gaps,
) -> None:  # fmt: skip
    """Raises RefusedError if a time is off the grid, or if a step is missing."""
    if (off := step.times(counts) != times).any():
        time = frame[columns.time].to_numpy()[off][0]
        why = f"{time} is off the most frequent step ({step.name} from {step.anchor}); expected times at one step"
        raise refused(frame, path, off, columns.time, why)
    distance = np.concatenate([[1], np.where(same, np.diff(counts), 1)])
    if gaps == "refuse" and (distance > 1).any():
        why = f"before it {distance[(distance > 1).argmax()] - 1} steps of {step.name} are missing; {remedy()}"
        raise refused(frame, path, distance > 1, columns.time, why)


def too_large(series: int, steps: int, covariates: int) -> str:
    """Return why a panel is too large, as one time in another century makes it; empty if it is not."""
    are = f"are {steps:,} steps of {series:,} series"
    if series * steps > MAX_VALUES:
        return f"{are}; expected {MAX_VALUES:,} values at most"
    needed, available = series * steps * (1 + covariates) * BYTES_PER_VALUE, free_memory()
    if needed > available:
        more = f" with {covariates} covariates" if covariates else ""
        have = f"about {needed / 2**30:,.1f} GB of memory are needed, and {available / 2**30:,.1f} GB are free"
        return f"{are}{more}, for which {have}; expected fewer"
    return ""


def remedy() -> str:
    """Advice for gaps."""
    return "datamodule.gaps=interpolate fills it, gaps=skip leaves out the windows that hold it"


def check_columns(columns: Columns) -> None:
    """Raises RefusedError if a column has two uses, or if a use does not fit a wide table."""
    static = columns.covariates["static"]
    if columns.wide and (columns.series or static):
        key, given = ("series", columns.series) if columns.series else ("static_covariates", static)
        raise refusal(f"datamodule.{key}", given, "is of a long table; in a wide one each column is a series")
    uses = {"time": [columns.time], "value": [] if columns.wide else [columns.value]}
    uses |= {key: [name] for key, name in (("series", columns.series), ("split", columns.split)) if name}
    uses |= {f"{kind}_covariates": names for kind, names in columns.covariates.items()}
    taken: dict[str, str] = {}
    for key, names in uses.items():
        for name in names:
            if name in taken:
                what = {"time": "the column of times", "value": "the column of values"}.get(taken[name])
                raise refusal(f"datamodule.{key}", name, f"is also {what or f'in {taken[name]}'}; expected another")
            taken[name] = key


def block_keys(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Hash each block of BLOCK_STEPS with its time: uint64 (S, N), and True if the block is distinctive, (S, N).

    Blocks are counted from 1970, so that they are the same in every file. A block with a gap, or of equal values, as at
    night, could belong to any series and is not distinctive.
    """
    factors = np.random.default_rng(0).integers(0, 2**64, BLOCK_STEPS + 1, np.uint64) | np.uint64(1)
    series, length = panel.values.shape
    offset = int(panel.first % BLOCK_STEPS)
    count = -(-(offset + length) // BLOCK_STEPS)
    times = (panel.first // BLOCK_STEPS + np.arange(count)).astype(np.uint64) * factors[0]
    keys, distinctive = np.empty((series, count), np.uint64), np.empty((series, count), bool)
    for row, values in enumerate(panel.values):
        cells = np.full(count * BLOCK_STEPS, np.nan)
        cells[offset : offset + length] = values
        cells = cells.reshape(count, BLOCK_STEPS)
        keys[row] = times + (cells.view(np.uint64) * factors[1:]).sum(1)
        distinctive[row] = ~np.isnan(cells).any(1) & (cells != cells[:, :1]).any(1)
    return keys, distinctive


def longest_run(values: np.ndarray) -> int:
    """Return the length of the longest run without a gap in any of the series (S, T)."""
    gaps = [np.flatnonzero(np.isnan(row)) for row in values]
    return max(int(np.diff(each, prepend=-1, append=values.shape[1]).max()) - 1 for each in gaps)
