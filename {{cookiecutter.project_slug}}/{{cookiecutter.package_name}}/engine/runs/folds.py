"""Sets of folds (`folds=5`): their folders, their configs and their checks. training/folds.py trains them."""

import copy

from omegaconf import DictConfig, open_dict

from ..config.signatures import signature
from ..config.targets import allowed
from ..config.tree import last_part
from ..errors import refusal
from .folder import FOLD_PATTERN, RunFolder


def folds_of(run: RunFolder) -> list[RunFolder]:
    """Return the runs of a set of folds, in order; an empty list if `run` is a single run or does not exist."""
    if run.begun:
        return []
    matches = {FOLD_PATTERN.fullmatch(path.parent.name): path.parent for path in run.path.glob("*/config.yaml")}
    return [RunFolder(path) for _, path in sorted((int(match[1]), path) for match, path in matches.items() if match)]


def config_of_fold(cfg: DictConfig, number: int) -> DictConfig:
    """Return the config of fold `number`, from 1, of `cfg.folds`."""
    fold = copy.deepcopy(cfg)
    with open_dict(fold):
        fold.update({"name": f"{cfg.name}/fold_{number}", "folds": None})
        fold.datamodule.update({"folds": cfg.folds, "fold": number})
    return fold


def check_folds(cfg: DictConfig) -> None:
    """Raises RefusedError if the datamodule takes no folds, or the config sets them as well."""
    takes = signature(allowed(cfg.datamodule._target_))
    if takes and not takes.open and not {"folds", "fold"} <= takes.parameters.keys():
        name = last_part(cfg.datamodule._target_)
        raise refusal("folds", cfg.folds, f"{name} takes none (the arguments `folds` and `fold`)")
    for key in ("folds", "fold"):
        if cfg.datamodule.get(key) is not None:
            raise refusal(f"datamodule.{key}", cfg.datamodule[key], "is given by folds=; leave out one of both")
    if cfg.rerun:
        raise refusal("folds", cfg.folds, "a rerun trains one run again: rerun=runs/<set>/fold_1")


def check_is_set(cfg: DictConfig, run: RunFolder) -> None:
    """Raises RefusedError if `folds=` is given for the folder of a single run, or missing for that of a set."""
    begun = folds_of(run)
    if (cfg.folds and run.begun) or (begun and not cfg.folds):
        kind = "a run, not a set of folds" if cfg.folds else f"a set of folds: folds={len(begun)} resumes it"
        raise refusal("name", cfg.name, f"{run.path.as_posix()} is {kind}, or choose another name=")
