"""What differs between two runs: config, code, data, versions, machine, metrics. What is equal is left out."""

import re
from typing import Any

from omegaconf import OmegaConf

from ..config.tree import leaves
from ..plain import read_json, read_text
from ..runs.folder import RUNS, RunFolder, moved
from ..runs.metrics import format_metric
from ..runs.provenance import changes, read_provenance
from ..runs.saved import open_run
from .summaries import numbers, summary_of, text
from .table import written

ABSENT = "–"
HASH_PATTERN = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,}\b")  # shortened in what is shown
MAX_PATCH = 2**22  # bytes of changes.patch
# The kind of a difference by how the names of `changes` begin; what is not listed is the version of a package.
KINDS = {"training data": "data", "number of processes": "machine", "code": "code", "git": "code", "system": "machine",
         "CPU": "machine", "GPUs": "machine"}  # fmt: skip


def differences(one: RunFolder, other: RunFolder) -> dict[str, list[list[str]]]:
    """Return for each kind, such as `config`, what differs: a list of [name, value in `one`, value in `other`].

    Raises RefusedError if one is not a run, or a file of it can't be read.
    """
    found: dict[str, list[list[str]]] = {
        "config": _pairs(*map(nameless_config, (one, other))), "code": [], "data": [], "versions": [], "machine": [],
    }  # fmt: skip
    origins = [read_provenance(run) for run in (one, other)]
    for name, values in changes(*origins).items():
        kind = next((kind for begin, kind in KINDS.items() if name.startswith(begin)), "versions")
        shown = (ABSENT if value is None else HASH_PATTERN.sub(r"\1…", text(value)) for value in values)
        found[kind].append([name, *shown])
    patches = [_patch(run) for run in (one, other)]
    if patches[0] != patches[1]:
        counts = [f"{patch.count(chr(10)):,} lines" if patch else "none" for patch in patches]
        found["code"].append(["changes.patch (uncommitted changes)", *counts])
    metrics = [_metrics(run) for run in (one, other)]
    found["metrics"] = [[name, *map(_shortened, values)] if len({*map(_shortened, values)}) > 1 else [name, *values]
                        for name, *values in _pairs(*metrics)]  # fmt: skip
    return {kind: rows for kind, rows in found.items() if rows}


def nameless_config(run: RunFolder) -> dict[str, Any]:
    """Return the config by its keys, without the run's name."""
    plain: Any = OmegaConf.to_container(open_run(run.path.as_posix())[1])
    return dict(leaves(moved({**plain, "name": None}, RUNS / str(plain["name"]), RUNS / "<name>")))


def _patch(run: RunFolder) -> str:
    path = run.path / "changes.patch"
    return read_text(path, MAX_PATCH) if path.is_file() else ""


def _metrics(run: RunFolder) -> dict[str, float]:
    if not run.finished:
        so_far = summary_of(run.path)
        return {so_far.monitor: so_far.best} if so_far and so_far.best is not None else {}
    content = read_json(run.metrics)
    splits = content if isinstance(content, dict) else {}
    pairs = [
        (f"{split}/{name}", value) for split in ("val", "test") for name, value in numbers(splits.get(split)).items()
    ]
    return dict(sorted(pairs, key=lambda pair: pair[0].count("/")))  # those of a part, such as one class, come last


def _shortened(value: str) -> str:
    """Return a metric as the table shows it."""
    return value if value == ABSENT else format_metric(float(value))


def _pairs(one: dict[str, Any], other: dict[str, Any]) -> list[list[str]]:
    return [
        [text(key), *(text(written(each[key])) if key in each else ABSENT for each in (one, other))]
        for key in {**one, **other}
        if key not in one or key not in other or one[key] != other[key]
    ]
