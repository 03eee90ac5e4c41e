"""The attributes of Lightning and torchmetrics that are not public and that the engine needs, each with its reason.

Tested with pytorch-lightning 2.6.5 and 2.6.6 and torchmetrics 1.8 and 1.9.
"""

import threading
from typing import Any

from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.callbacks import Timer
from torchmetrics import Metric


def steps_done(trainer: Any) -> int:
    """Steps that metrics.csv counts: with several optimizers `global_step` counts each optimizer's."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def set_steps_done(trainer: Any, steps: int) -> None:
    """Lightning's checkpoint holds the number as it was before the validation that follows a step."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = steps


def end_restart(trainer: Any) -> None:
    """Within an epoch that is restarted a plateau scheduler would miss its step."""
    trainer.fit_loop._restarting = False


def callback_metrics(trainer: Any) -> dict[str, Any]:
    """The dict behind `trainer.callback_metrics`, which gives a copy: a resumed run puts the last values back."""
    return trainer._logger_connector._callback_metrics


def epoch_results(trainer: Any) -> Any:
    """What `self.log(…, on_epoch=True)` has gathered in this training epoch; no checkpoint of Lightning holds it."""
    return trainer.fit_loop.epoch_loop._results


def metric_state(metric: Metric) -> dict[str, Any]:
    """The states of a metric and how often it was updated; `state_dict` leaves out both by default."""
    return {**metric.metric_state, "_update_count": metric._update_count}


def set_metric_state(metric: Metric, state: dict[str, Any]) -> None:
    """Put back what `metric_state` has read. Raises KeyError or TypeError where it is something else."""
    for key, own in {**metric._defaults, "_update_count": 0}.items():  # no other that a checkpoint may name
        if type(state[key]) is not type(own):
            raise TypeError(f"{type(metric).__name__}.{key} is a {type(state[key]).__name__}")
        setattr(metric, key, state[key])


def duration(timer: Timer) -> float | None:
    """Seconds that a Timer gives a training; None: without end. `time_remaining` needs one that has begun."""
    return timer._duration


def attach_data(trainer: Any, model: LightningModule, datamodule: LightningDataModule) -> None:
    """Give a Trainer its data without a training: whether its switches fit the data is then asked of its own loops."""
    trainer._data_connector.attach_data(model, datamodule=datamodule)


def divides_data(trainer: Any) -> bool:
    """Whether Lightning would put a sampler of its own in place of that of a loader."""
    return trainer._accelerator_connector.use_distributed_sampler


def end_observer() -> None:
    """End the thread that kills the first process where another one has ended: the engine says first what to do."""
    threads: list[Any] = threading.enumerate()
    for observer in (thread for thread in threads if thread.name == "child-process-observer"):
        observer._child_processes = []
