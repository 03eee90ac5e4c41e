"""The list of runs as a table: Rich on a terminal, plain text in a pipe."""

import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from ..config.tree import leaves
from ..errors import RefusedError, printable, refusal
from ..runs.metrics import format_metric
from .summaries import Summary, age, duration

LEAST = ("started", "time", "datamodule", "seed")  # columns that a narrow terminal leaves out first
COLORS = {"finished": "green", "training": "cyan", "testing": "cyan", "failed": "red", "damaged": "red"}


def rows_of(runs: list[Summary]) -> tuple[list[str], list[list[str]]]:
    """Return the titles and the cells of the table; a column that is empty in each run is left out."""
    monitors = {run.monitor for run in runs if run.monitor}
    monitor = next(iter(monitors)) if len(monitors) == 1 else "best"
    metrics = [name for name in dict.fromkeys(name for run in runs for name in run.test) if "/" not in name]
    table: dict[str, list[str]] = {title: [] for title in ("run", "state", "model", "datamodule", "seed", "epochs")}
    table |= {title: [] for title in (monitor, *(f"test/{name}" for name in metrics), "time", "started")}
    for run in runs:
        best = metric(run.best, run.spread.get(run.monitor))
        cells = {
            "run": run.name,
            "state": run.state,
            "model": run.model,
            "datamodule": run.datamodule,
            "seed": "" if run.seed is None else str(run.seed),
            "epochs": progress(run),
            monitor: best if monitor != "best" or not best else f"{run.monitor} {best}",
            **{f"test/{name}": metric(run.test.get(name), run.spread.get(f"test/{name}")) for name in metrics},
            "time": "" if run.seconds is None else duration(run.seconds),
            "started": f"{since} ago" if (since := age(run.started)) else "",
        }
        for title, column in table.items():
            column.append(cells[title])
    titles = [title for title, column in table.items() if any(column)]
    return titles, [list(row) for row in zip(*(table[title] for title in titles), strict=True)]


def progress(run: Summary) -> str:
    """Format the epochs done, or the folds, of how many if that is known; the steps where the epochs have no limit."""
    if run.folds:
        return f"{run.epoch}/{run.epochs} folds" if run.epochs else f"{run.epoch} folds"
    if run.epochs is None and run.steps:
        return f"step {run.step}/{run.steps}"
    return "" if run.epoch is None else f"{run.epoch}/{run.epochs}" if run.epochs else str(run.epoch)


def metric(value: float | None, spread: float | None = None) -> str:
    """Format a metric, with its standard deviation if one is given."""
    if value is None:
        return ""
    return format_metric(value) if spread is None else f"{format_metric(value)} ± {format_metric(spread)}"


def print_table(titles: list[str], rows: list[list[str]], plain: bool | None = None) -> None:
    """Print a table: with Rich on a terminal, else (or if `plain`) as text in columns that a program can cut."""
    titles, *rows = [[printable(cell) for cell in row] for row in (titles, *rows)]
    if plain or (plain is None and not sys.stdout.isatty()):
        widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
        for row in (titles, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    shown = _fitting(titles, rows, console.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place in shown:
        words = place == 0 or titles[place] in ("state", "model", "datamodule")
        table.add_column(titles[place], justify="left" if words else "right", overflow="fold")
    for row in rows:  # Text: no markup in a run's name
        table.add_row(*(Text(row[place], style=COLORS.get(row[place], "")) for place in shown))
    console.print(table)
    if len(shown) < len(titles):
        hidden = ", ".join(title for place, title in enumerate(titles) if place not in shown)
        print(f"Not shown, for lack of width: {hidden} (python runs.py | less -S)")


def _fitting(titles: list[str], rows: list[list[str]], width: int) -> list[int]:
    """Return the places of the columns that fit into `width`; those in LEAST, then the last metrics, are left out."""
    widths = [2 + max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    order = [titles.index(title) for title in LEAST if title in titles]
    order += [place for place in reversed(range(len(titles))) if titles[place].startswith("test/")]
    shown = list(range(len(titles)))
    while order and sum(widths[place] for place in shown) > width + 2:
        shown.remove(order.pop(0))
    return shown


def chosen(runs: list[Summary], conditions: Iterable[str]) -> list[Summary]:
    """Return the runs that meet each condition `key=value`, on a field of the summary, a metric or a config key.

    Raises RefusedError if a condition is not of this form, or no run has its key.
    """
    for condition in conditions:
        key, equals, wanted = condition.partition("=")
        if not equals:
            raise RefusedError(f"--where {condition}: expected key=value, such as state=finished")
        values = _values(runs, key, "--where", condition)
        runs = [run for run, value in zip(runs, values, strict=True) if _is(value, wanted)]
    return runs


def ordered(runs: list[Summary], key: str, reverse: bool = False) -> list[Summary]:
    """Return the runs sorted by a field, a metric or a config key, the best first for `best`.

    Runs without a value come last. Raises RefusedError if no run has the key, or `best` is of different metrics.
    """
    monitors = {run.monitor: run.mode for run in runs if run.best is not None}
    if key == "best" and len(monitors) > 1:
        raise RefusedError(f"--sort best: these runs differ in their monitor; try --where monitor={min(monitors)}")
    values = _values(runs, key, "--sort", key)
    pairs = [(run, value) for run, value in zip(runs, values, strict=True) if value not in (None, "", {})]
    downward = reverse != (key == "best" and "max" in monitors.values())
    numeric = all(isinstance(value, int | float) for _, value in pairs)
    pairs.sort(key=lambda pair: pair[1] if numeric else str(pair[1]), reverse=downward)
    valued = {id(run) for run, _ in pairs}
    return [run for run, _ in pairs] + [run for run in runs if id(run) not in valued]


def _is(value: Any, wanted: str) -> bool:
    """True if a value is the one that is written: `0.01` is also `1e-2`."""
    with suppress(ValueError):
        if isinstance(value, float) and float(wanted) == value:
            return True
    return wanted in (str(value), written(value))


def _values(runs: list[Summary], key: str, option: str, given: str) -> list[Any]:
    """Return the value of a key in each run, None if it has none. Raises RefusedError if no run has the key."""
    fields = [run.values() | {"run": run.name, "time": run.seconds, run.monitor: run.best} for run in runs]
    known = dict.fromkeys(name for each in fields for name in each)
    if key not in known:
        fields = [config_of(run) for run in runs]
        known |= dict.fromkeys(name for each in fields for name in each)
    if runs and key not in known:
        raise refusal(option, given, "no run has this key", known, key)
    return [each.get(key) for each in fields]


def config_of(run: Summary) -> dict[str, Any]:
    """Return the config of a run by its keys (`model.optimizer.lr`); empty for a set of folds or a damaged run."""
    from omegaconf import OmegaConf

    from ..runs.saved import open_run  # imported late: a list needs no config

    try:
        cfg = {} if run.folds else OmegaConf.to_container(open_run(run.path)[1])
    except RefusedError:
        return {}
    return dict(leaves(cfg))


def written(value: Any) -> str:
    """Return a value as it is written on the command line: `null`, `true`, `[1, 2]`."""
    return value if isinstance(value, str) else json.dumps(value)
