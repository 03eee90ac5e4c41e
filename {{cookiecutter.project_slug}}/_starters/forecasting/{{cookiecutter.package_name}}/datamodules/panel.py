"""Read series from a table into a panel: a row for each series, a column for each step of time, NaN where none is."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from ..errors import RefusedError
from .steps import Step, infer_step
from .tables import need_columns, numbers, texts

MOST_VALUES = 2**28  # series of few rows that lie far apart in time would fill the memory: 1 GB
Gaps = Literal["refuse", "interpolate", "skip"]


class Panel(NamedTuple):
    """`values` (S, T) as float32; the first column is step `first` since 1970 (see steps.py)."""

    names: list[str]
    values: np.ndarray
    first: int
    step: Step


class Columns(NamedTuple):
    """Which columns of a table hold what; `time_format` is strftime's, null for ISO 8601."""

    time: str
    value: str
    series: str | None = None
    time_format: str | None = None


def read_panel(frame: pd.DataFrame, columns: Columns, path: Path, gaps: Gaps) -> Panel:
    """The series of a long table: a row for each series and time.

    Raises RefusedError, with file, row and column, where a time or value can't be read, where times are out of order,
    there twice or off the grid of the common step, and, where `gaps` is refuse, where a step or its value is missing.
    """
    named = {"time": columns.time, "value": columns.value, "series": columns.series}
    for key, column in named.items():
        need_columns(frame, [column] if column else [], path, f"datamodule.{key}")
    times = read_times(frame, columns, path)
    values = numbers(frame, columns.value, path)
    if gaps == "refuse" and (missing := np.isnan(values)).any():
        raise refused(frame, path, missing, columns.value, f"no value is there; {remedy()}")
    rows, names = pd.factorize(texts(frame, columns.series) if columns.series else np.zeros(len(frame), np.int64))
    if (unnamed := rows < 0).any():
        raise refused(frame, path, unnamed, str(columns.series), "the series is not named")
    order = np.argsort(rows, kind="stable")
    frame, times, values, rows = frame.iloc[order], times[order], values[order], rows[order]
    same = rows[1:] == rows[:-1]
    check_order(frame, times, same, columns, path)
    step = infer_step(times, same)
    if step is None:
        raise RefusedError(f"{path}: each series has one row alone: nothing to forecast from")
    counts = step.number(times)
    check_grid(frame, times, counts, same, step, columns, path, gaps)
    panel = np.full((len(names), np.ptp(counts) + 1), np.nan, np.float32)
    panel[rows, counts - counts.min()] = values
    if gaps == "interpolate":
        panel = pd.DataFrame(panel.T).interpolate(limit_area="inside").to_numpy(np.float32).T
    return Panel([str(name) for name in names] if columns.series else [columns.value], panel, counts.min(), step)


def read_times(frame: pd.DataFrame, columns: Columns, path: Path) -> pd.DatetimeIndex:
    """The column of times; those that name their zone are turned into UTC."""
    given = frame[columns.time]
    form = columns.time_format or "ISO8601"
    times = pd.to_datetime(given, errors="coerce", format=form, utc=True) if given.dtype.kind != "M" else given
    wrong = (times.isna() | ~times.dt.year.between(1700, 2200)).to_numpy()  # as far as nanoseconds reach
    if wrong.any():
        example = f"as {form}" if columns.time_format else "such as 2026-01-31 13:00, or its datamodule.time_format"
        what = "there is no time" if given[wrong].isna().iloc[0] else f"{str(given[wrong].iloc[0])[:40]!r} is no time"
        raise refused(frame, path, wrong, columns.time, f"{what}; expected one {example}")
    index = pd.DatetimeIndex(times)
    return index.tz_convert(None) if index.tz is not None else index


def check_order(frame: pd.DataFrame, times: pd.DatetimeIndex, same: np.ndarray, columns: Columns, path: Path) -> None:
    """Raises RefusedError where the times of a series do not ascend."""
    later = np.concatenate([[True], ~same | (times[1:] > times[:-1])])
    if not later.all():
        place = int(later.argmin())
        twice = times[place] == times[place - 1]
        why = "is there twice" if twice else f"comes after {times[place - 1]}; expected ascending times"
        hint = " (local times? one hour in autumn is there twice; expected UTC)" if twice else ""
        series = "" if columns.series or not twice else "; several series? datamodule.series=<column>"
        raise refused(frame, path, ~later, columns.time, f"{times[place]} {why}{hint}{series}")


def check_grid(
    frame: pd.DataFrame, times: pd.DatetimeIndex, counts: np.ndarray, same: np.ndarray, step: Step,
    columns: Columns, path: Path, gaps: Gaps,
) -> None:  # fmt: skip
    """Raises RefusedError where a time is between two steps, where one is missing, or where the grid is too large."""
    if (off := step.times(counts) != times).any():
        why = f"{times[off][0]} is off the step that most rows keep ({step.name} from {step.anchor})"
        raise refused(frame, path, off, columns.time, why)
    behind = np.concatenate([[1], np.where(same, np.diff(counts), 1)])
    if gaps == "refuse" and (behind > 1).any():
        why = f"before it {behind[(behind > 1).argmax()] - 1} steps of {step.name} are missing; {remedy()}"
        raise refused(frame, path, behind > 1, columns.time, why)
    cells = int(np.ptp(counts) + 1) * int(1 + (~same).sum())
    if cells > MOST_VALUES:
        raise RefusedError(f"{path}: from {times.min()} to {times.max()} in steps of {step.name} are {cells:,} values")


def refused(frame: pd.DataFrame, path: Path, wrong: np.ndarray, column: str, why: str) -> RefusedError:
    """What is the matter in the first row that is `wrong` (N,)."""
    return RefusedError(f"{path}, row {frame.index[int(wrong.argmax())]}, column {column!r}: {why}")


def remedy() -> str:
    return "datamodule.gaps=interpolate fills it, gaps=skip leaves out the windows that hold it"
