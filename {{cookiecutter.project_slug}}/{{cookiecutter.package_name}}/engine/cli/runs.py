"""The command line of runs.py: list, show, diff, seeds, report, watch. Reads run folders and changes none. No torch."""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from ..compare.summaries import Summary, summaries, summary_of
from ..errors import RefusedError, printable, refusal
from ..runs.folder import RUNS, RunFolder, check_folder

LIMIT = 50  # runs in a table on a terminal


def main(about: str) -> None:
    """Run the command that sys.argv names; `about` is the description in --help."""
    from .command import end

    options = _parser(about).parse_args()
    try:
        options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # as in `runs.py | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Exception, KeyboardInterrupt) as error:
        end(error)


class Parser(argparse.ArgumentParser):
    """Parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; --help lists what there is", file=sys.stderr)
        sys.exit(2)


def _parser(about: str) -> argparse.ArgumentParser:
    parser = Parser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(command=list_runs)
    _add_list_options(parser)
    commands = parser.add_subparsers(title="commands", metavar="<command>")
    for name, run, help_ in (
        ("list", list_runs, "a table of all runs (the default)"),
        ("show", show, "all of a run, and the commands that come next"),
        ("diff", diff, "what differs between two runs: config, code, data, versions, machine, metrics"),
        ("seeds", seeds, "runs that differ in the seed alone: mean, spread, and which groups can be told apart"),
        ("report", report, "one HTML page of runs: curves, configs, plots; opens offline"),
        ("watch", watch, "the table, refreshed"),
    ):
        about = help_[0].upper() + help_[1:]
        # SUPPRESS: else the defaults of the command would replace what is given before its name.
        command = commands.add_parser(name, help=help_, description=about, argument_default=argparse.SUPPRESS)
        command.set_defaults(command=run)
        if name in ("list", "watch"):
            _add_list_options(command, where="and_where")
        if name == "seeds":
            _add_where(command, "and_where")
        if name == "show":
            command.add_argument("run", help="a run folder, runs/<name>")
        if name == "diff":
            command.add_argument("one", help="a run folder")
            command.add_argument("other", help="another")
        if name == "report":
            command.add_argument("runs", nargs="*", default=[], help="run folders; all of runs/ if none is named")
            command.add_argument("--output", type=Path, default=Path("report.html"), help="default: report.html")
        if name == "watch":
            command.add_argument("--seconds", type=float, default=2.0, help="between two refreshes; default: 2")
        if name in ("show", "diff", "seeds"):
            command.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def _add_list_options(parser: argparse.ArgumentParser, where: str = "where") -> None:
    add = parser.add_argument
    keys = "best (the best first), started, time, test/accuracy, model.optimizer.lr … (the lowest first)"
    add("--sort", metavar="KEY", help=keys)
    add("--reverse", action="store_true", help="with --sort: the other way round")
    _add_where(parser, where)
    add("--limit", type=int, metavar="N", help=f"rows of the table; default: {LIMIT} on a terminal, else all")
    add("--json", action="store_true", help="print JSON, for programs")


def _add_where(parser: argparse.ArgumentParser, dest: str = "where") -> None:
    only = "only runs with this value: state=finished, seed=1, trainer.max_epochs=5 …; may be repeated"
    parser.add_argument("--where", metavar="KEY=VALUE", action="append", dest=dest, default=[], help=only)


def _conditions(options: argparse.Namespace) -> list[str]:
    """Return each --where, before and after the name of the command."""
    return [*options.where, *getattr(options, "and_where", [])]


def list_runs(options: argparse.Namespace) -> None:
    """Print the table of runs, or as JSON a list of them."""
    from ..compare.table import chosen, ordered, print_table, rows_of

    if options.limit is not None and options.limit < 1:
        raise refusal("--limit", options.limit, "expected 1 or more")
    conditions = _conditions(options)
    found = chosen(summaries(), conditions)
    if options.sort:
        found = ordered(found, options.sort, options.reverse)
    if options.json:
        _print_json([run.values() for run in found])
        return
    if not found:
        print("No runs here" + (" that meet --where" if conditions else ": python train.py name=first trains one"))
        return
    limit = len(found) if options.limit is None and not sys.stdout.isatty() else options.limit or LIMIT
    print_table(*rows_of(found[:limit]))
    for run in (run for run in found[:limit] if run.state in ("failed", "damaged")):
        print(printable(f"{run.name} {'has failed' if run.state == 'failed' else 'is damaged'}: {run.error}"))
    if len(found) > limit:
        print(f"{len(found) - limit:,} more: --limit {len(found)}")


def show(options: argparse.Namespace) -> None:
    """Print all that is known of a run, and the commands that come next."""
    from ..compare.details import details, next_commands, origin_of

    run = _run(options.run)
    if options.json:
        _print_json(run.values() | {"origin": origin_of(run), "next": next_commands(run)})
        return
    for name, value in details(run).items():
        print(f"{name:<14}{printable(value)}")
    for command in next_commands(run):
        print(f"{'next':<14}{printable(command)}")


def diff(options: argparse.Namespace) -> None:
    """Print what differs between two runs, kind by kind."""
    from ..compare.differences import differences
    from ..compare.table import print_table

    pair = [_run(name) for name in (options.one, options.other)]
    for run in pair:
        if run.folds:
            raise RefusedError(f"{run.path}: a set of folds; compare two runs, such as {run.path}/fold_1")
    one, other = (RunFolder(Path(run.path)) for run in pair)
    found = differences(one, other)
    if options.json:
        _print_json(found)
        return
    if not found:
        print("Nothing differs")
    for kind, rows in found.items():
        print_table([kind, one.name, other.name], rows)
        print()


def seeds(options: argparse.Namespace) -> None:
    """Print a table of each group of runs that differ in the seed alone, and compare each with the best one."""
    from ..compare.seeds import comparisons, groups_of, labelled, mean_and_std
    from ..compare.table import chosen, metric, print_table
    from ..runs.metrics import format_metric

    groups = groups_of(chosen(summaries(), _conditions(options)))
    if options.json:
        compared = [asdict(each) for each in comparisons(groups)]
        _print_json({"groups": [group.content() for group in groups], "comparisons": compared})
        return
    if not groups:
        print("No finished runs differ in the seed alone: python train.py --multirun seed=0,1,2 trains some")
    for letter, group in labelled(groups):
        names = printable(", ".join(run.name for run in group.runs))
        print(f"{letter}: {group.label}; {len(group.runs)} seeds ({names})")
        values = {name: group.values(name) for name in group.metrics}
        rows = [
            [name, metric(*mean_and_std(each)), *map(format_metric, each.values())] for name, each in values.items()
        ]
        print_table(["", "mean ± std", *(f"seed {run.seed}" for run in group.runs)], rows)
        print()
    for each in comparisons(groups):
        print(each)


def report(options: argparse.Namespace) -> None:
    """Write the report page."""
    from ..compare.page import MAX_RUNS, write_report

    found = [_run(name) for name in options.runs] if options.runs else summaries()
    if not found:
        raise RefusedError("runs/: no runs to report on; train one first: python train.py")
    write_report(found, options.output)
    older = f", without {len(found) - MAX_RUNS} older ones" if len(found) > MAX_RUNS else ""
    size = options.output.stat().st_size / 1e6
    shown = "1 run" if len(found) == 1 else f"{len(found[:MAX_RUNS])} runs"
    print(f"{shown} in {options.output.as_posix()} ({size:.1f} MB){older}")


def watch(options: argparse.Namespace) -> None:
    """Print the table again and again, until Ctrl-C."""
    if not sys.stdout.isatty():
        raise RefusedError("watch: needs a terminal; runs.py prints the table once")
    if options.json:
        raise RefusedError("watch: draws a table; runs.py --json prints JSON once")
    while True:
        print("\033[2J\033[H", end="")
        list_runs(options)
        time.sleep(max(0.2, options.seconds))


def _run(name: str) -> Summary:
    """Return the summary of the run in a folder, given as `runs/<name>` or `<name>`. Raises RefusedError."""
    path = Path(name) if os.path.isdir(name) else RUNS / name
    found = summary_of(path) if os.path.isdir(path) else None
    if found is None:
        names = [run.name for run in summaries()]
        raise refusal(name, "", "no run folder", names, name.removeprefix(f"{RUNS}/").rstrip("/"))
    check_folder(path)  # what is read beside the summary
    return found


def _print_json(content: Any) -> None:
    # NaN and infinity, which JSON lacks, become null.
    print(json.dumps(json.loads(json.dumps(content), parse_constant=lambda _: None), indent=2))
