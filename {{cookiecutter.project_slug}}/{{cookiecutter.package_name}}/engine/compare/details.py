"""All of one run: what `runs.py show` prints, and the commands that come next."""

import shlex
from pathlib import Path
from typing import Any

from ..errors import RefusedError
from ..plain import read_json
from ..runs.folder import RunFolder
from ..runs.folds import folds_of
from ..runs.provenance import read_provenance
from .summaries import Summary, age, duration, numbers, text
from .table import metric, progress, written

MAX_COMMAND = 2000  # characters


def details(run: Summary) -> dict[str, Any]:
    """Return the facts of a run by name, without those that are unknown."""
    folder, origin = RunFolder(Path(run.path)), origin_of(run)
    git: Any = origin.get("git") if isinstance(origin.get("git"), dict) else {}
    resumed: Any = origin.get("resumed") if isinstance(origin.get("resumed"), list) else []
    metrics = read_json(folder.metrics) if folder.finished else {}
    splits: Any = metrics if isinstance(metrics, dict) else {}
    best = metric(run.best, run.spread.get(run.monitor))
    epoch = "" if run.best_epoch is None else f" in epoch {run.best_epoch + 1}"
    last = "ended" if run.state == "finished" else "last written"
    facts: dict[str, Any] = {
        "run": run.path,
        "state": f"{run.state}: {run.error}" if run.error else run.state,
        "model": run.model,
        "datamodule": run.datamodule,
        "seed": "" if run.seed is None else str(run.seed),
        "epochs": progress(run),
        "best": best and f"{run.monitor} {best}{epoch}",
        **{split: _line(numbers(splits.get(split))) for split in ("train", "val", "test")},
        "samples": ", ".join(f"{split} {count:,.0f}" for split, count in numbers(splits.get("samples")).items()),
        "trained for": "" if run.seconds is None else duration(run.seconds),
        "started": run.started,
        last: f"{run.alive} ({age(run.alive)} ago)" if run.alive else "",
        "resumed": f"{len(resumed)} time{'s' * (len(resumed) > 1)}" if resumed else "",
        "command": _train_command(run, origin.get("overrides")) if origin else "",
        "commit": text(git.get("commit") or "") + (" with uncommitted changes" if git.get("dirty") else ""),
        "data": text(origin.get("data_sha256") or "")[:16],
        "versions": _pairs(origin.get("packages")),
        "machine": _pairs({key: origin.get(key) for key in ("system", "cpu", "gpus")}),
        "config": folder.config.as_posix() if folder.begun else "",
        "plots": ", ".join(path.as_posix() for path in sorted(folder.plots.glob("*.png"))),
    }  # fmt: skip
    if run.folds:
        facts["test"] = _line(run.test, run.spread)
    return {name: value for name, value in facts.items() if value}


def _pairs(values: Any) -> str:
    """Format untrusted values by their names."""
    pairs = values.items() if isinstance(values, dict) else ()
    return text(", ".join(f"{name} {written(value)}" for name, value in pairs if value), MAX_COMMAND)


def _line(metrics: dict[str, float], spread: dict[str, float] | None = None) -> str:
    """Format the metrics of the whole split, without those of a part, such as one class."""
    whole = {name: value for name, value in metrics.items() if "/" not in name}
    return ", ".join(f"{name} {metric(value, (spread or {}).get(f'test/{name}'))}" for name, value in whole.items())


def next_commands(run: Summary) -> list[str]:
    """Return the commands that make sense for a run in its state."""
    if run.state == "finished":
        path = shlex.quote(run.path)
        repeat = [] if run.folds else [f"python train.py rerun={path}"]
        return [f"python evaluate.py run={path}", f"python predict.py run={path} input=<your files>", *repeat]
    if run.state in ("stopped", "killed", "failed"):
        return [_train_command(run, origin_of(run).get("overrides"))]
    return []


def origin_of(run: Summary) -> dict[str, Any]:
    """Return the provenance of a run, or of the first of a set of folds; empty if it can't be read."""
    folder = RunFolder(Path(run.path))
    try:
        return read_provenance((folds_of(folder) or [folder])[0])
    except RefusedError:
        return {}


def _train_command(run: Summary, overrides: Any) -> str:
    """Return the command that trains or resumes a run, quoted: its overrides may come from elsewhere."""
    return text(shlex.join(["python", "train.py", *train_words(run, overrides)]), MAX_COMMAND)


def train_words(run: Summary, overrides: Any) -> list[str]:
    """Return the overrides that train or resume a run, its name first; a fold is resumed by the command of its set."""
    words = [str(word) for word in overrides] if isinstance(overrides, list) else []
    is_of_set = any(word.startswith("folds=") for word in words)
    name = run.name.partition("/")[0] if is_of_set else run.name
    return [f"name={name}", *(word for word in words if not word.startswith("name="))]
