"""The Trainer of a run: its callbacks, its loggers, how it shows progress."""

import sys
from contextlib import nullcontext
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.profilers import PassThroughProfiler

from ..run_folder.checkpoints import AtomicCheckpointIO
from ..run_folder.folder import RunFolder
from ..run_folder.log import log
from ..run_folder.metrics_log import MetricsLog
from .build import build
from .exact import ExactResume


def build_trainer(cfg: DictConfig, folder: RunFolder) -> tuple[Trainer, MetricsLog]:
    """The Trainer with the callbacks and loggers of the config; metrics.csv and last.ckpt are always written."""
    metrics_log = MetricsLog(folder.path / "metrics.csv")
    loggers: list[Logger] = [metrics_log, *build_all(cfg.get("logger"))]
    exact = ExactResume(folder, cfg.seed, cfg.save_minutes, metrics_log)
    callbacks = [exact, *build_callbacks(cfg)]
    trainer = build(cfg.trainer, callbacks=callbacks, logger=loggers, default_root_dir=str(folder.path))
    if isinstance(trainer.profiler, PassThroughProfiler):
        trainer.profiler = NoProfiler()
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = AtomicCheckpointIO(folder)
    else:
        log.warning("trainer.plugins has a CheckpointIO: whether a checkpoint is written whole is left to that")
    return trainer, metrics_log


def build_callbacks(cfg: DictConfig) -> list[Callback]:
    """Those of the config, and one that shows progress where it has none."""
    callbacks: list[Callback] = build_all(cfg.get("callbacks"))
    if cfg.trainer.get("enable_progress_bar") and not any(isinstance(each, ProgressBar) for each in callbacks):
        callbacks.append(TQDMProgressBar(refresh_rate=20) if sys.stdout.isatty() else EpochLines())
    return callbacks


class EpochLines(ProgressBar):
    """Progress where no terminal can show a bar: the validation of each epoch as a line of the log."""

    def disable(self) -> None:
        """Called by Lightning in each process but the first; `log` is silent there."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            metrics = ", ".join(f"{key} {value:.4f}" for key, value in trainer.progress_bar_metrics.items())
            log.info(f"Epoch {trainer.current_epoch + 1}, step {trainer.global_step}: {metrics}")


class NoProfiler(PassThroughProfiler):
    """Lightning's own way not to measure makes some forty context managers a step; one that is ready will do."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        return self.nothing


def build_all(group: DictConfig | None) -> list[Any]:
    """Each node of a group of options, in the order of the config."""
    return [build(node) for node in (group or {}).values()]
