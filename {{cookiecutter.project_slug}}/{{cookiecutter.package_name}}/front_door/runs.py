"""What the commands are told of runs.

evaluate.py and predict.py: a finished run, one of its checkpoints, and what is changed of it. train.py: a new run, an
unfinished one to go on with, or a finished one to train again.
"""

import ast
import copy
import re
from pathlib import Path
from typing import NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from ..errors import RefusedError, refusal
from ..run_folder.folder import RUNS, RunFolder, check_links, check_unlocked, folds_of, open_run, overrides, rank
from .check import (
    allowed,
    check_config,
    check_keys,
    check_name,
    check_writable,
    good_name,
    known_keys,
    leaves,
    resolved,
)
from .monitor import check_monitor
from .sources import PACKAGE, line_of, lineage, member, signature

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


# What may be changed of a run that goes on, and it ends in the same bits.
HARMLESS = (
    "resume", "save_minutes", "logger", "datamodule.num_workers", "trainer.enable_progress_bar",
    "trainer.enable_model_summary", "trainer.detect_anomaly",
)  # fmt: skip
SWITCHES = ("name", "seed", "save_minutes", "resume", "rerun", "init_from", "folds", "monitor", "mode")
WITH_RERUN = ("rerun", "name", "resume", "save_minutes", "logger")


def check_training(cfg: DictConfig) -> None:
    """Raises RefusedError where the composed config can't be trained; with `rerun` it becomes that run's config."""
    check_keys(cfg, known_keys())
    plain = resolved(cfg)
    for key in (key for key in SWITCHES if key not in plain):
        raise refusal(key, "", "has to be there, if only as null")
    if plain["rerun"] is not None:
        _take_over(cfg, str(plain["rerun"]))
    check_name(plain["name"])
    check_config(cfg)
    check_monitor(resolved(cfg))
    _check_sense(cfg)
    if cfg.init_from:
        open_run(cfg.init_from, key="init_from")[0].checkpoint("best")
    if cfg.folds:
        _check_folds(cfg)
    if cfg.name and rank() == 0:  # the processes of other ranks come to a folder that is held for them
        run = RunFolder(RUNS / cfg.name)
        begun = folds_of(run)
        if (cfg.folds and run.config.is_file()) or (begun and not cfg.folds):
            is_a = "a run, not a set of folds" if cfg.folds else f"a set of folds: folds={len(begun)} goes on"
            raise refusal("name", cfg.name, f"{run.path.as_posix()} is {is_a}, or choose another name=")
        for fold in begun:
            _check_continued(config_of_fold(cfg, int(fold.path.name.removeprefix("fold_"))), fold)
        if not cfg.folds:
            _check_continued(cfg, run)


def config_of_fold(cfg: DictConfig, number: int) -> DictConfig:
    """The config of one run of a set of `cfg.folds`, numbered from 1."""
    fold = copy.deepcopy(cfg)
    with open_dict(fold):
        fold.update({"name": f"{cfg.name}/fold_{number}", "folds": None})
        fold.datamodule.update({"folds": cfg.folds, "fold": number})
    return fold


def _check_folds(cfg: DictConfig) -> None:
    """Raises RefusedError where the datamodule takes no folds, or the config says which."""
    takes = signature(allowed(cfg.datamodule._target_))
    if takes and not takes.open and not {"folds", "fold"} <= takes.parameters.keys():
        name = cfg.datamodule._target_.rpartition(".")[2]
        raise refusal("folds", cfg.folds, f"{name} takes none (the arguments `folds` and `fold`)")
    for key in ("folds", "fold"):
        if cfg.datamodule.get(key) is not None:
            raise refusal(f"datamodule.{key}", cfg.datamodule[key], "is given by folds=; leave out one of both")
    if cfg.rerun:
        raise refusal("folds", cfg.folds, "a rerun trains one run again: rerun=runs/<set>/fold_1")


def _check_sense(cfg: DictConfig) -> None:
    """Raises RefusedError for what the Trainer and ModelCheckpoint would do, and a run folder can't hold."""
    trainer = cfg.trainer
    if trainer.get("fast_dev_run"):
        raise refusal("trainer.fast_dev_run", trainer.fast_dev_run, "leaves no run; trainer=debug does a few batches")
    for key in ("max_epochs", "max_steps", "limit_train_batches"):
        if trainer.get(key) == 0:
            raise refusal(f"trainer.{key}", 0, "nothing would be trained")
    for key, common in {"gradient_clip_val": (None,), "accumulate_grad_batches": (None, 1)}.items():
        if trainer.get(key) not in common and _steps_by_itself(cfg.model._target_):
            why = f"{cfg.model._target_.rpartition('.')[2]} steps its optimizers itself, and has to do that there"
            raise refusal(f"trainer.{key}", trainer[key], why)
    for name, node in (cfg.get("callbacks") or {}).items():
        if node.get("save_last"):
            raise refusal(f"callbacks.{name}.save_last", node.save_last, "last.ckpt is always written: save_minutes=…")
        if node.get("filename") in ("last", "previous"):
            raise refusal(f"callbacks.{name}.filename", node.filename, "is the engine's own; expected another")
        if node.get("filename") == "best":
            _check_best(f"callbacks.{name}", node, cfg.monitor)


def _check_best(key: str, node: DictConfig, monitor: str) -> None:
    """Raises RefusedError where best.ckpt would not be the best of what the run monitors."""
    if node.get("save_top_k", 1) not in (0, 1):
        why = "best.ckpt would not be the best; with a filename of its own for each"
        raise refusal(f"{key}.save_top_k", node.save_top_k, f"{why}: {key}.filename=…")
    if node.get("monitor") != monitor:
        why = f"best.ckpt is the best {monitor}, which monitor=… changes; else {key}.filename=…"
        raise refusal(f"{key}.monitor", node.get("monitor", ""), why)


def _steps_by_itself(target: str) -> bool:
    """Whether a model of this package turns automatic optimization off."""
    classes = (each for each in lineage(allowed(target)) if each.module.name.startswith(f"{PACKAGE}."))
    return any("self.automatic_optimization = False" in ast.unparse(each.node) for each in classes if each.node)


def _check_continued(cfg: DictConfig, run: RunFolder) -> None:
    """That no other process trains in the folder, and that a run goes on as it began."""
    check_unlocked(run)
    check_links(run)
    if not run.config.is_file() and any(run.best.parent.glob("*.ckpt")):
        raise refusal("name", cfg.name, f"{run.path.as_posix()} has checkpoints but no config.yaml; choose another")
    if cfg.resume != "exact" or not run.config.is_file():
        return
    saved = open_run(str(run.path), key="name")[1]
    began, now = (dict(leaves(resolved(each))) for each in (saved, cfg))
    for key in [*now, *(key for key in began if key not in now)]:
        if now.get(key) != began.get(key) and not f"{key}.".startswith(tuple(f"{name}." for name in HARMLESS)):
            was = f"was begun with {began[key]}" if key in began else "was begun without it"
            why = f"{run.path.as_posix()} {was}, so it can't go on exactly; resume=inexact goes on anyway"
            raise refusal(key, now.get(key, "absent"), why)


def _take_over(cfg: DictConfig, rerun: str) -> None:
    """Put the config of the finished run `rerun` in place of the composed one."""
    for word in overrides():
        if word.lstrip("+~").split("=")[0] not in WITH_RERUN:
            raise RefusedError(f"{word}: a rerun trains the same again; beside it only name= can be given")
    run, saved = open_run(rerun, key="rerun")
    if not run.metrics.is_file():
        raise refusal("rerun", rerun, f"has not finished; name={run.name} goes on with it")
    check_saved(saved, run)
    with open_dict(cfg):
        for key in [key for key in map(str, cfg) if key not in WITH_RERUN]:
            del cfg[key]
        cfg.update({key: saved._get_node(key) for key in map(str, saved) if key not in WITH_RERUN})
