"""Write status.json while a run is trained and tested."""

import math
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer

from ..errors import FailedError, RefusedError, StoppedError, printable
from ..files import now, write_json
from ..logs import rank
from ..runs.folder import RunFolder
from ..runs.status import WORKING, is_own, read_status
from . import lightning
from .metrics_log import MetricsLog

SECONDS = 10  # between two signs of life
NAMES = ("model", "datamodule")  # config groups whose chosen options are noted
PROGRESS = ("epoch", "epochs", "step", "steps", "seconds")


class StatusFile(Callback):
    """Write status.json at each change of state, after epochs and validations, and every SECONDS between them."""

    def __init__(self, folder: RunFolder, cfg: DictConfig, metrics_log: MetricsLog) -> None:
        self.folder, self.metrics_log, self.monitor, self.mode = folder, metrics_log, cfg.monitor, cfg.mode
        earlier = _read(folder) if folder.continued else {}
        choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
        names = _read(RunFolder(Path(cfg.rerun))) if cfg.rerun else choices
        seconds = earlier.get("seconds")
        self.before = seconds if isinstance(seconds, float) and math.isfinite(seconds) else 0.0  # of earlier processes
        self.steps: int | None = None  # of the whole training
        self.has_begun = False
        self.best: dict[str, Any] | None = None  # row of metrics.csv with the best value of `monitor`
        self.seen_rows = 0
        self.begun = self.written = time.monotonic()
        self.status: dict[str, Any] = {
            "state": "training",
            **{name: names.get(name) for name in NAMES},
            "seed": cfg.seed,
            "monitor": cfg.monitor,
            "mode": cfg.mode,
            "started": earlier.get("started") or now(),
            "host": platform.node(),
            "pid": os.getpid(),
            **{name: earlier[name] for name in PROGRESS if name in earlier},  # if no step is left to train
        }

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not self.folder.status.exists():  # what comes before the first step may take long, or fail
            self._write(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        steps = trainer.estimated_stepping_batches  # in each process: they may have to wait for each other
        self.steps = int(steps) if math.isfinite(steps) and steps > 0 else None
        self.has_begun = True
        self._write(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, flush=False)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._write_if_due(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, flush=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Note how far the training came, before `noted` notes why it ended."""
        if trainer.training and self.has_begun:
            with suppress(OSError):  # a full disk, which may be what has failed
                self._write(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.status["state"] = "testing"
        self._write(trainer)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        self._write_if_due(trainer)

    on_validation_batch_end = on_test_batch_end

    def _write_if_due(self, trainer: Trainer) -> None:
        if time.monotonic() - self.written >= SECONDS:
            self._write(trainer, flush=False)

    def _write(self, trainer: Trainer, flush: bool = True) -> None:
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        changes: dict[str, Any] = {"best": self._best()}
        if self.status["state"] == "training" and self.has_begun:
            changes |= {
                "epoch": trainer.current_epoch,
                "epochs": trainer.max_epochs if (trainer.max_epochs or -1) > 0 else None,
                "step": lightning.steps_done(trainer),
                "steps": self.steps,
                "seconds": round(self.before + time.monotonic() - self.begun, 1),
            }
        self.status |= {**changes, "alive": now()}
        write_json(self.folder.status, self.status, flush)
        self.written = time.monotonic()

    def _best(self) -> dict[str, Any] | None:
        """Return the best value of `monitor` so far, with its epoch and step; None if none is a number."""
        name, rows, sign = self.monitor, self.metrics_log.rows, -1 if self.mode == "max" else 1
        for row in rows[self.seen_rows :]:
            value = row.get(name, math.nan)
            if math.isfinite(value) and (self.best is None or sign * value < sign * self.best[name]):
                self.best = row
        self.seen_rows = max(0, len(rows) - 1)  # the last one may still be filled
        return self.best and {"value": self.best[name], "epoch": self.best["epoch"], "step": self.best["step"]}


@contextmanager
def noted(folder: RunFolder) -> Iterator[None]:
    """Note in status.json how the work in this context ended, if a training had begun: finished, stopped or failed."""
    try:
        yield
    except (StoppedError, KeyboardInterrupt):
        _end(folder, {"state": "stopped"})
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, FailedError) else f"{type(error).__name__}: {error}".partition("\n")[0]
        _end(folder, {"state": "failed", "error": printable(" ".join(reason.split()))[:1000]})
        raise
    _end(folder, {"state": "finished"})


def _end(folder: RunFolder, changes: dict[str, Any]) -> None:
    status = _read(folder)
    if rank() == 0 and is_own(status) and status["state"] in WORKING:
        with suppress(OSError):  # a full disk, which may be what has failed
            write_json(folder.status, {**status, **changes, "alive": now()})


def _read(folder: RunFolder) -> dict[str, Any]:
    """Return the status of a run; empty if it has none that can be read."""
    try:
        return read_status(folder)
    except RefusedError:
        return {}
