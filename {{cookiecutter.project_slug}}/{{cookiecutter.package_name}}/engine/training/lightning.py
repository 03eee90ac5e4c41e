"""Private attributes of Lightning and torchmetrics that the engine needs, each with its reason.

Tested with pytorch-lightning 2.6.5 and 2.6.6 and torchmetrics 1.8 and 1.9.
"""

import threading
from typing import Any

from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.core.optimizer import _init_optimizers_and_lr_schedulers
from torchmetrics import Metric


def steps_done(trainer: Any) -> int:
    """Return the steps that metrics.csv counts: with several optimizers, `global_step` counts each optimizer's."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped + int(trainer.validating)  # counted after validation


def set_steps_done(trainer: Any, steps: int) -> None:
    """Set the step count: Lightning's checkpoint holds it as it was before the validation that follows a step."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = steps


def end_restart(trainer: Any) -> None:
    """End Lightning's restart: a plateau scheduler would miss its step in a restarted epoch."""
    trainer.fit_loop._restarting = False


def callback_metrics(trainer: Any) -> dict[str, Any]:
    """Return the dict behind `trainer.callback_metrics`, which is a copy: a resumed run restores the last values."""
    return trainer._logger_connector._callback_metrics


def epoch_results(trainer: Any) -> Any:
    """Return what `self.log(…, on_epoch=True)` has accumulated this epoch; Lightning's checkpoints lack it."""
    return trainer.fit_loop.epoch_loop._results


def metric_state(metric: Metric) -> dict[str, Any]:
    """Return the states of a metric and its number of updates; `state_dict` leaves out both by default."""
    return {**metric.metric_state, "_update_count": metric._update_count}


def set_metric_state(metric: Metric, state: dict[str, Any]) -> None:
    """Restore what `metric_state` returned. Raises KeyError or TypeError if it is something else."""
    for key, own in {**metric._defaults, "_update_count": 0}.items():  # only these, whatever a checkpoint names
        if type(state[key]) is not type(own):
            raise TypeError(f"{type(metric).__name__}.{key} is a {type(state[key]).__name__}")
        setattr(metric, key, state[key])


def duration(timer: Timer) -> float | None:
    """Return the seconds that a Timer allows, or None. `time_remaining` needs a Timer that has started."""
    return timer._duration


def attach_data(trainer: Any, model: LightningModule, datamodule: LightningDataModule) -> None:
    """Give a Trainer its data without training, so that its own loops can check its switches against the data."""
    trainer._data_connector.attach_data(model, datamodule=datamodule)


def optimizers_and_schedulers(model: LightningModule) -> tuple[list[Any], list[Any]]:
    """Read the result of `configure_optimizers` as a Trainer does; the public way needs a training that has begun."""
    return _init_optimizers_and_lr_schedulers(model)


def divides_data(trainer: Any) -> bool:
    """True if Lightning would replace the sampler of a loader by its own."""
    return trainer._accelerator_connector.use_distributed_sampler


def end_observer() -> None:
    """End the thread that kills the first process when another one ends: the engine first says what to do."""
    threads: list[Any] = threading.enumerate()
    for observer in (thread for thread in threads if thread.name == "child-process-observer"):
        observer._child_processes = []
