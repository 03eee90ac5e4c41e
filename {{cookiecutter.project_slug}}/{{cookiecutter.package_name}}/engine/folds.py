"""k-fold cross-validation: a set of runs, each validating on a part of its own, and one table of all."""

import hashlib
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from omegaconf import DictConfig

from ..errors import FailedError, RefusedError, StoppedError, refusal
from ..front_door.gate import Place
from ..front_door.runs import config_of_fold
from ..run_folder.folder import RUNS, RunFolder, claim_run_folder, folds_of, log, quiet, start_log
from ..run_folder.metrics import summarise
from .build import build, imported
from .train import build_datamodule, input_example, kind_of, train


def train_folds(cfg: DictConfig) -> RunFolder:
    """Train each of `cfg.folds` folds that has not finished, and write the table of all; returns the set's folder.

    Raises what `train` raises.
    """
    start_log()
    if build(cfg.trainer, place=Place.OWN, logger=False).world_size > 1:
        one = f"name={cfg.name or '<set>'}/fold_1 datamodule.folds={cfg.folds} datamodule.fold=1"
        raise RefusedError(f"folds={cfg.folds}: several processes train one fold a command: {one}, then the next")
    if not (cfg.name and folds_of(RunFolder(RUNS / cfg.name))):  # a set that was begun has passed it
        check_folds_differ(cfg)
    folder = claim_run_folder(cfg.name, f"{kind_of(cfg)}_folds")
    cfg.name = folder.name
    if cfg.init_from:
        log.warning(f"init_from={cfg.init_from} may be trained on what a fold validates on: val/ may look too good")
    runs = []
    for number in range(1, cfg.folds + 1):
        fold = config_of_fold(cfg, number)
        if number > 1:
            log.info("")
        log.info(f"Fold {number} of {cfg.folds}")
        run = RunFolder(folder.path / f"fold_{number}")
        if run.metrics.is_file():
            log.info(f"{run.path.as_posix()} has finished")
        else:
            try:
                train(fold)
            except (FailedError, StoppedError) as error:  # the command that goes on is that of the set
                error.args = tuple(str(line).replace(f"name={fold.name}", f"name={cfg.name}") for line in error.args)
                raise
        runs.append(run)
    summarise(folder, runs, cfg.monitor, input_example(imported(cfg.datamodule._target_)))
    return folder


def check_folds_differ(cfg: DictConfig) -> None:
    """Raises RefusedError where two folds validate on the same samples: they would be one training, done twice."""
    with quiet(True):  # the trainings say what was read
        first, second = (validated(build_datamodule(config_of_fold(cfg, number))) for number in (1, 2))
    if first == second:
        name = cfg.datamodule._target_.rpartition(".")[2]
        why = f"folds 1 and 2 validate on the same samples; {name} does not divide its data by `folds` and `fold`"
        raise refusal("folds", cfg.folds, why)


def validated(datamodule: Any) -> str:
    """SHA-256 of the validation batches; of all the data where they hold no tensors."""
    parts: list[bytes] = []
    digest = hashlib.sha256()
    for batch in datamodule.val_dataloader():
        parts.clear()
        apply_to_collection(batch, torch.Tensor, lambda tensor: parts.append(tensor.contiguous().numpy().tobytes()))
        digest.update(b"".join(parts))
    return digest.hexdigest() if parts else datamodule.fingerprint()
