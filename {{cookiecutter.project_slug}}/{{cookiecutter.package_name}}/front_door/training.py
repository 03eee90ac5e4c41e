"""What train.py is told: a new run, an unfinished one to go on with, or a finished one to train again."""

import ast
import copy

from omegaconf import DictConfig, open_dict

from ..errors import RefusedError, refusal
from ..run_folder.folder import RUNS, RunFolder, check_links, folds_of, open_run, overrides, rank
from ..run_folder.lock import check_unlocked
from .check import allowed, check_config, check_keys, known_keys, leaves, resolved
from .finished import check_saved
from .paths import check_name
from .signatures import signature
from .sources import PACKAGE, lineage

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
        if node.get("filename") == "best" and node.get("save_top_k", 1) not in (0, 1):
            why = "best.ckpt would not be the best; with a filename of its own for each"
            raise refusal(f"callbacks.{name}.save_top_k", node.save_top_k, f"{why}: callbacks.{name}.filename=…")


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
