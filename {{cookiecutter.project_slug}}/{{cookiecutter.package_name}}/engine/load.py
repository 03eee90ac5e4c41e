"""Load a finished run: its model and its data, from the folder alone."""

from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig
from pytorch_lightning import LightningDataModule, LightningModule

from ..errors import RefusedError
from ..front_door.finished import check_saved
from ..run_folder.checkpoints import load_checkpoint
from ..run_folder.folder import open_run
from .build import build, imported


class LoadedRun(NamedTuple):
    """The model in eval mode on the CPU, and the datamodule, not yet set up."""

    model: LightningModule
    datamodule: LightningDataModule


def load_run(folder: str | Path, checkpoint: str = "best") -> LoadedRun:
    """Model and datamodule of a run, as in `model, datamodule = load_run("runs/first")`.

    `checkpoint` is `best`, `last` or a path. Raises RefusedError where folder or checkpoint is not there.
    """
    run, cfg = open_run(str(folder))
    check_saved(cfg, run)
    return LoadedRun(load_model(cfg, run.checkpoint(checkpoint)), build(cfg.datamodule))


def load_model(cfg: DictConfig, checkpoint: Path) -> Any:
    """The model of the config with the weights of the checkpoint. Raises RefusedError as `load_checkpoint` does."""
    model_class = imported(cfg.model._target_)
    load_checkpoint(checkpoint)
    try:
        return model_class.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True).eval()
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RefusedError(f"{checkpoint} is no checkpoint of {model_class.__name__}: {reason}") from error
