"""Open finished runs, which may be untrusted, and check their configs."""

import os
import re
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..config.check import check_config
from ..config.files import line_of
from ..config.targets import Place, check_targets
from ..config.tree import leaves, resolved
from ..errors import RefusedError, refusal
from ..plain import check_plain, read_yaml
from .folder import RUNS, RunFolder, check_folder, is_run_name, map_text
from .folds import folds_of

# Names of arguments that say where to write.
OUTPUT_PATTERN = re.compile(r"(dir|file|folder|output|path|root)s?(\[\d+\])*$")


class ChosenRun(NamedTuple):
    """A finished run, and the options of evaluate.py or predict.py for it.

    A set of folds has a checkpoint for each fold, and the config of the first.
    """

    folder: RunFolder
    cfg: DictConfig  # with the overrides applied
    checkpoints: list[Path]
    checkpoint: str  # `best`, `last` or a path, as given
    changes: list[str]  # overrides of the run's config
    other_data: bool  # true if one of them is of the datamodule
    input: str  # for predict.py
    output: Path | None


def open_run(run: str, key: str = "run") -> tuple[RunFolder, DictConfig]:
    """Return the folder and the config of a run. Raises RefusedError, naming the newest run, if `run` is not one."""
    folder = RunFolder(Path(run))
    if folds := folds_of(folder):
        raise RefusedError(f"{key}={run}: is a set of folds; expected one of them: {key}={folds[0].path.as_posix()}")
    if not folder.begun:
        runs = sorted((path.parent for path in RUNS.glob("*/config.yaml")), key=os.path.getmtime)
        hint = f"the newest is {key}={runs[-1].as_posix()}" if runs else "train one first: python train.py"
        raise RefusedError(f"{key}={run}: no run folder (no {folder.config}); {hint}")
    check_folder(folder.path)
    content = read_yaml(folder.config)
    try:
        if not isinstance(content, dict):
            raise RefusedError("is not the config of a run")
        if len(name := str(content.get("name"))) > 200:  # folder names are shorter
            raise refusal("name", name, f"has {len(name):,} letters")
        content = map_text(content, lambda text: text.replace("${name}", name))  # as earlier versions wrote it
        check_plain(content)
        return folder, OmegaConf.create(content)  # with nothing left to resolve
    except (RefusedError, RecursionError, OmegaConfBaseException) as error:
        raise RefusedError(f"{key}={run}: {folder.config}: {' '.join(str(error).split())}") from error


def finished_runs(folder: RunFolder) -> list[tuple[RunFolder, DictConfig]]:
    """Return the run with its config, or those of a set of folds. Raises RefusedError if one can't be run."""
    folds = folds_of(folder)
    if folds and not folder.folds.is_file():
        raise refusal(
            "run", folder.path.as_posix(), f"has not finished; train.py name={folder.name} folds=… resumes it"
        )
    check_folder(folder.path)
    opened = [open_run(str(run.path)) for run in folds or [folder]]
    for run, saved in opened:
        check_saved(saved, run)
    return opened


def check_saved(saved: DictConfig, folder: RunFolder, place: Place = Place.OWN) -> None:
    """Raises RefusedError, with file and line, if a run's config, which may be untrusted, can't be run.

    With the `place` of a rerun, its Trainer and callbacks have to be ones that an untrusted config may name.
    """
    try:
        check_config(saved, reads_data=False)
        _check_paths(saved)
        for group in ("trainer", "callbacks"):
            check_targets(group, resolved(saved).get(group), place)
        if place is Place.RERUN and saved.trainer.get("model_registry") is not None:
            raise refusal("trainer.model_registry", saved.trainer.model_registry, "a rerun uploads nothing")
    except RefusedError as error:
        line = line_of(error.key, folder.config) if error.key else None
        raise RefusedError(f"{error} ({folder.config.as_posix()}{f':{line}' if line else ''})") from error


def _check_paths(saved: DictConfig) -> None:
    """Raises RefusedError for a path by which a callback or the Trainer would write outside the run folder.

    Paths of loggers are not checked: the loggers of a saved config are never built.
    """
    plain = resolved(saved)
    name = str(plain.get("name"))
    for key, value in leaves(plain):
        if not isinstance(value, str) or not key.startswith(("trainer.", "callbacks.")):
            continue
        path, windows = Path(value), PureWindowsPath(value)
        within = is_run_name(name) and RUNS / name in (path, *path.parents)
        folder = OUTPUT_PATTERN.search(key.rpartition(".")[2]) and not within
        elsewhere = path.is_absolute() or windows.anchor or "://" in value or value.startswith("~")
        if folder or elsewhere or ".." in (*path.parts, *windows.parts):
            raise refusal(key, value, "leads out of the run folder; a config that came from elsewhere may not do that")
