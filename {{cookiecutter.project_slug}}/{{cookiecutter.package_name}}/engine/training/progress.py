"""Progress of a training: a bar on a terminal, otherwise a line of the log per epoch."""

import math
import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from ..logs import log
from ..runs.metrics import format_metric
from .lightning import steps_done

SECONDS = 0.1  # between two refreshes of a bar: one takes as long as a step of a small network


class Bar(TQDMProgressBar):
    """A bar of the whole training: epoch, time left, loss and the metrics of the last validation.

    It is drawn after a time, not after a number of batches: it moves in short epochs as well, and slows down none.
    """

    def __init__(self) -> None:
        super().__init__(refresh_rate=1)
        self.drawn = -math.inf

    def init_train_tqdm(self) -> Tqdm:
        bar = super().init_train_tqdm()
        bar.bar_format = "{desc} {percentage:3.0f}%|{bar}| {elapsed} passed, {remaining} left{postfix}"
        return bar

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # type: ignore[override]
        bar = self.train_progress_bar = self.init_train_tqdm()
        bar.initial = bar.n = batches_before(trainer) + trainer.fit_loop.epoch_loop.batch_progress.current.ready
        bar.total = all_batches(trainer)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Do nothing: the bar is that of all epochs."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_due():
            self.train_progress_bar.n = batches_before(trainer) + batch_idx + 1
            self._draw(trainer, metrics_text(trainer, outputs))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do nothing: the next step draws."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # type: ignore[override]
        self.train_progress_bar.n = batches_before(trainer)
        self._draw(trainer, metrics_text(trainer))
        self.train_progress_bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the line of the bar: the message of the error follows."""
        if trainer.training:
            self.train_progress_bar.close()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do nothing: the bar of the training shows the validation."""

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.has_dataloader_changed(dataloader_idx)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not trainer.sanity_checking and self._is_due():
            self._draw(trainer, f"validation {batch_idx + 1} of {self.total_val_batches_current_dataloader}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.reset_dataloader_idx_tracker()

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx + 1 == self.total_test_batches_current_dataloader or self._is_due():
            super().on_test_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx + 1 == self.total_predict_batches_current_dataloader or self._is_due():
            super().on_predict_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now - self.drawn < SECONDS:
            return False
        self.drawn = now
        return True

    def _draw(self, trainer: Trainer, text: str) -> None:
        bar = self.train_progress_bar
        bar.set_description_str(epoch_text(trainer), refresh=False)
        bar.set_postfix_str(text, refresh=False)
        bar.refresh()


class EpochLines(ProgressBar):
    """Progress without a terminal: log a line per epoch, and one for each validation within an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: Any = None  # of the last step
        self.logged_at = -1  # the step of the last line
        self.begun, self.batches = 0.0, 0  # when this process began to train, and how many batches were done then
        self.done = 0

    def disable(self) -> None:
        """Do nothing. Lightning calls it in every process but the first, where `log` is silent."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.begun = time.monotonic()
        self.done = self.batches = batches_before(trainer) + trainer.fit_loop.epoch_loop.batch_progress.current.ready

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.outputs, self.done = outputs, batches_before(trainer) + batch_idx + 1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._log(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer)

    def _log(self, trainer: Trainer) -> None:
        if (step := steps_done(trainer)) == self.logged_at:  # by the validation at the end of the epoch
            return
        self.logged_at = step
        left = (all_batches(trainer) or self.done) - self.done
        seconds = (time.monotonic() - self.begun) / max(1, self.done - self.batches) * left
        ahead = f"; {Tqdm.format_interval(seconds)} left" if left > 0 else ""
        log.info(f"{epoch_text(trainer)}, step {step}: {metrics_text(trainer, self.outputs)}{ahead}")


def epoch_text(trainer: Trainer) -> str:
    """Return `Epoch 3 of 50`, counted from 1, or `Epoch 3` if the training has no number of epochs."""
    epochs = trainer.max_epochs or -1
    number = min(trainer.current_epoch + 1, epochs) if epochs > 0 else trainer.current_epoch + 1
    return f"Epoch {number} of {epochs}" if epochs > 0 else f"Epoch {number}"


def metrics_text(trainer: Trainer, outputs: Any = None) -> str:
    """Return the metrics that the model logs with `prog_bar`, and the loss of the step if none of them is of training.

    `outputs` are those of `training_step`. Reading a loss waits for a GPU.
    """
    monitor = getattr(trainer.checkpoint_callback, "monitor", None)
    metrics: dict[str, Any] = dict(trainer.progress_bar_metrics)
    metrics |= {key: value for key, value in trainer.callback_metrics.items() if key == monitor}
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    if loss is not None and not any(key.startswith("train/") for key in metrics):
        metrics = {"loss": loss, **metrics}
    return ", ".join(f"{key} {format_metric(float(value))}" for key, value in metrics.items())


def batches_before(trainer: Trainer) -> int:
    """Return the number of batches in the epochs done; 0 if their length is unknown."""
    each = trainer.num_training_batches
    return trainer.current_epoch * int(each) if math.isfinite(each) else 0


def all_batches(trainer: Trainer) -> int | None:
    """Return the number of batches in the training, or None if it has no end that is known."""
    each, epochs = trainer.num_training_batches, trainer.max_epochs or -1
    ends = [epochs * each] if epochs > 0 else []
    ends += [trainer.max_steps * trainer.accumulate_grad_batches] if trainer.max_steps > 0 else []
    return int(min(ends)) if ends and math.isfinite(min(ends)) else None
