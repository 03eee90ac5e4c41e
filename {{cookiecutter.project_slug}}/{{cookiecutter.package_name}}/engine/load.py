"""Load a finished run: its model and its data, from the folder alone."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from pytorch_lightning import LightningDataModule, LightningModule
from torch import nn

from ..errors import RefusedError
from ..front_door.finished import finished_runs
from ..run_folder.checkpoints import load_checkpoint
from ..run_folder.folder import RunFolder
from .build import build, imported


class LoadedRun(NamedTuple):
    """The model in eval mode on the CPU, and the datamodule, not yet set up."""

    model: LightningModule
    datamodule: LightningDataModule


def load_run(folder: str | Path, checkpoint: str = "best") -> LoadedRun:
    """Model and datamodule of a run, as in `model, datamodule = load_run("runs/first")`.

    `checkpoint` is `best`, `last` or a path; of a set of folds it is the ensemble. Raises RefusedError where folder or
    checkpoint is not there.
    """
    runs = finished_runs(RunFolder(Path(folder)))
    cfg = runs[0][1]
    return LoadedRun(load_models(cfg, [run.checkpoint(checkpoint) for run, _ in runs]), build(cfg.datamodule))


def load_models(cfg: DictConfig, checkpoints: list[Path]) -> Any:
    """The model of the config; with several checkpoints, of folds, their ensemble: the mean of what `forward` gives.

    Raises RefusedError as `load_checkpoint` does.
    """
    first, *others = [load_model(cfg, checkpoint) for checkpoint in checkpoints]
    if others:
        forwards = [model.forward for model in (first, *others)]
        first.others = nn.ModuleList(others)  # so that they go to the device with it
        first.forward = lambda *inputs, **named: torch.stack([each(*inputs, **named) for each in forwards]).mean(0)
    return first


def load_model(cfg: DictConfig, checkpoint: Path) -> Any:
    """The model of the config with the weights of the checkpoint. Raises RefusedError as `load_checkpoint` does."""
    model_class = imported(cfg.model._target_)
    load_checkpoint(checkpoint)
    try:
        return model_class.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True).eval()
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RefusedError(f"{checkpoint} is no checkpoint of {model_class.__name__}: {reason}") from error
