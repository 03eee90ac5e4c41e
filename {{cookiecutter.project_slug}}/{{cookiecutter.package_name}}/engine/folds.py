"""k-fold cross-validation: a set of runs, each a folder of its own within that of the set, and one table of them."""

from omegaconf import DictConfig

from ..errors import FailedError, RefusedError, StoppedError
from ..front_door.training import config_of_fold
from ..run_folder.folder import RunFolder, claim_run_folder
from ..run_folder.folds import summarise
from ..run_folder.log import log, start_log
from .build import build
from .train import kind_of, train


def train_folds(cfg: DictConfig) -> RunFolder:
    """Train each of `cfg.folds` folds that has not finished, and write the table of all; returns the set's folder.

    Raises what `train` raises.
    """
    start_log()
    if build(cfg.trainer, logger=False).world_size > 1:
        one = f"name={cfg.name or '<set>'}/fold_1 datamodule.folds={cfg.folds} datamodule.fold=1"
        raise RefusedError(f"folds={cfg.folds}: several processes train one fold a command: {one}, then the next")
    folder = claim_run_folder(cfg.name, f"{kind_of(cfg)}_folds")
    cfg.name = folder.name
    runs = []
    for number in range(1, cfg.folds + 1):
        fold = config_of_fold(cfg, number)
        log.info(f"{'' if number == 1 else chr(10)}Fold {number} of {cfg.folds}")
        run = RunFolder(folder.path / f"fold_{number}")
        if run.metrics.is_file():
            log.info(f"{run.path.as_posix()} has finished")
        else:
            try:
                train(fold)
            except (FailedError, StoppedError) as error:  # the command that goes on is that of the set
                error.args = (str(error).replace(f"name={fold.name}", f"name={cfg.name}"),)
                raise
        runs.append(run)
    summarise(folder, runs, cfg.monitor)
    return folder
