"""Build the Trainer of a run, with its callbacks, loggers and datamodule."""

import sys
from contextlib import nullcontext
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningDataModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.profilers import PassThroughProfiler

from ..config.build import build
from ..config.targets import Place
from ..errors import refusal
from ..logs import log
from ..runs.checkpoint_files import AtomicCheckpointIO
from ..runs.folder import RUNS, RunFolder
from ..runs.lock import one_at_a_time
from .metrics_log import MetricsLog
from .progress import Bar, EpochLines
from .resume import ExactResume
from .status import StatusFile
from .trackers import build_loggers


def datamodule_of(cfg: DictConfig) -> Any:
    """Build the datamodule of a config; reads no data. Raises RefusedError if it is not a LightningDataModule."""
    datamodule = build(cfg.datamodule, recursive=False, place=Place.ANY)  # as a model: it builds its parts itself
    if not isinstance(datamodule, LightningDataModule):
        raise refusal("datamodule._target_", cfg.datamodule._target_, "is not a LightningDataModule")
    return datamodule


def build_trainer(cfg: DictConfig, folder: RunFolder) -> tuple[Trainer, MetricsLog]:
    """Build the Trainer with the config's callbacks and loggers; metrics.csv and last.ckpt are always written."""
    metrics_log = MetricsLog(folder.metrics_csv)
    with one_at_a_time(RUNS):  # MLflow creates the tables of a new database without a lock
        loggers: list[Logger] = [metrics_log, *build_loggers(cfg, folder)]
    exact = ExactResume(folder, cfg.seed, cfg.save_minutes, metrics_log)
    place = place_of(cfg)
    callbacks = [exact, StatusFile(folder, cfg, metrics_log), *build_callbacks(cfg, place)]
    trainer = build(cfg.trainer, place=place, callbacks=callbacks, logger=loggers, default_root_dir=str(folder.path))
    if isinstance(trainer.profiler, PassThroughProfiler):
        trainer.profiler = NoProfiler()
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = AtomicCheckpointIO(folder, within=place is Place.RERUN)
    else:
        log.warning("trainer.plugins has a CheckpointIO: writing checkpoints atomically is left to it")
    return trainer, metrics_log


def place_of(cfg: DictConfig) -> Place:
    """Return the origin of the Trainer and the callbacks: the run that is trained again, or the user's own config."""
    return Place.RERUN if cfg.rerun else Place.OWN


def build_callbacks(cfg: DictConfig, place: Place = Place.OWN) -> list[Callback]:
    """Build the callbacks of the config, and one for progress if it has none."""
    callbacks: list[Callback] = build_all(cfg.get("callbacks"), place)
    if cfg.trainer.get("enable_progress_bar") and not any(isinstance(each, ProgressBar) for each in callbacks):
        callbacks.append(Bar() if sys.stdout.isatty() else EpochLines())
    return callbacks


class NoProfiler(PassThroughProfiler):
    """Profiler with one reusable context manager; Lightning's own makes some forty a step to measure nothing."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        return self.nothing


def build_all(group: DictConfig | None, place: Place = Place.OWN) -> list[Any]:
    """Build each node of a config group, in the order of the config."""
    return [build(node, place=place) for node in (group or {}).values()]
