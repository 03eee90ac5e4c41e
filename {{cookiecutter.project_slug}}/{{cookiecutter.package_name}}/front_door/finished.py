"""What evaluate.py and predict.py are told: a finished run, one of its checkpoints, and what is changed of it."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from ..errors import RefusedError, refusal
from ..run_folder.folder import RUNS, RunFolder, check_links, folds_of, open_run, overrides
from .check import allowed, check_config, check_keys, known_keys, leaves, resolved
from .config_files import line_of
from .paths import check_writable, good_name
from .sources import member

# What may be changed of a finished run; a model or a seed belongs to its training.
CHANGEABLE = ("datamodule", "trainer", "callbacks")
# Arguments that say where something is written.
FOLDER = re.compile(r"(dir|path|root|folder)$")
OWN_KEYS = ("run", "checkpoint", "input", "output")


class ChosenRun(NamedTuple):
    """A run folder, its config with the `changes` of the command line in it, and one of its checkpoints.

    Of a set of folds it is a checkpoint of each, and the config of the first.
    """

    folder: RunFolder
    cfg: DictConfig
    checkpoints: list[Path]
    changes: list[str]


def choose_run(cfg: DictConfig) -> ChosenRun:
    """What `run`, `checkpoint` and the other keys of the composed `cfg` mean. No torch, no work.

    Raises RefusedError where the run or the checkpoint is not there, its config names what it may not (a run folder may
    come from anywhere), or an override concerns the training.
    """
    check_keys(cfg, known_keys())
    options = {key: "???" if OmegaConf.is_missing(cfg, key) else cfg[key] for key in map(str, cfg) if key in OWN_KEYS}
    folder = RunFolder(Path(str(options["run"])))
    runs = finished_runs(folder)
    saved = runs[0][1]
    changes = [word for word in overrides() if word.lstrip("+~").split("=")[0] not in OWN_KEYS]
    for word in changes:
        if not word.lstrip("+~").startswith(CHANGEABLE):
            raise RefusedError(f"{word}: of a finished run only {', '.join(CHANGEABLE)} can be changed")
    saved.trainer.update({"devices": 1, "num_nodes": 1, "strategy": "auto"})
    saved = _changed(saved, cfg, changes)
    check_config(saved, reads_data="input" not in options)
    _check_paths(saved)
    if "input" in options and not (_exists(str(options["input"])) or _says(saved, "input_is_text")):
        raise refusal("input", options["input"], "no such file or folder")
    if options.get("output") is not None:
        output, folder_wanted = Path(str(options["output"])), _says(saved, "output_is_folder")
        if output.exists() and output.is_dir() != folder_wanted:
            kinds = ("a file", "a folder") if folder_wanted else ("a folder", "a file")
            raise refusal("output", output, f"is {kinds[0]}; expected the name of {kinds[1]}")
        check_writable("output", output.parent)
    return ChosenRun(folder, saved, [run.checkpoint(str(options["checkpoint"])) for run, _ in runs], changes)


def finished_runs(folder: RunFolder) -> list[tuple[RunFolder, DictConfig]]:
    """The run with its config, or those of a set of folds. Raises RefusedError where it can't be run as it is."""
    folds = folds_of(folder)
    if folds and not folder.folds.is_file():
        raise refusal("run", folder.path.as_posix(), f"has not finished; train.py name={folder.name} folds=… goes on")
    check_links(folder)
    opened = [open_run(str(run.path)) for run in folds or [folder]]
    for run, saved in opened:
        check_saved(saved, run)
    return opened


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long a name, or none: words
        return False


def _says(saved: DictConfig, name: str) -> bool:
    """Whether the class of the datamodule has `name = True`.

    `input_is_text`: what `input` says need not be a file; `output_is_folder`: what `output` names is a folder.
    """
    said = member(allowed(saved.datamodule._target_), name)
    return said is not None and isinstance(said.node, ast.Constant) and said.node.value is True


def check_saved(saved: DictConfig, folder: RunFolder) -> None:
    """Raises RefusedError, with file and line, where the config of a run folder, maybe a stranger's, can't be run."""
    try:
        check_config(saved, reads_data=False)
        _check_paths(saved)
    except RefusedError as error:
        line = line_of(error.key, folder.config) if error.key else None
        raise RefusedError(f"{error} ({folder.config.as_posix()}{f':{line}' if line else ''})") from error


def _check_paths(saved: DictConfig) -> None:
    """Raises RefusedError for a path by which a callback or the Trainer would write outside the run folder.

    The loggers of a saved config are never built: their part in it is not looked at.
    """
    plain = resolved(saved)
    name = str(plain.get("name"))
    for key, value in leaves(plain):
        if not isinstance(value, str) or not key.startswith(("trainer.", "callbacks.")):
            continue
        path = Path(value)
        within = good_name(name) and RUNS / name in (path, *path.parents)
        folder = FOLDER.search(key.rpartition(".")[2]) and not within
        if folder or path.is_absolute() or ".." in path.parts or value.startswith(("~", "\\")):
            raise refusal(key, value, "leads out of the run folder; a config that came from elsewhere may not do that")


def _changed(saved: DictConfig, composed: DictConfig, changes: list[str]) -> DictConfig:
    """The saved config of a run with what the command line names: `datamodule=image_folder`, `trainer.devices=2`.

    Each named key is taken from `composed`, the config that Hydra made of today's files and that command line.
    """
    with open_dict(saved):
        for override in OverridesParser.create().parse_overrides(changes):
            key = override.key_or_group.replace("/", ".")
            value = None if override.is_delete() else OmegaConf.select(composed, key)
            OmegaConf.update(saved, key, value, merge=False)
    return saved
