"""Check the built objects before the work: refuse what a class accepts, but fails on later or silently ignores.

The first checks need no data; the later ones let a separate Trainer see the loaders and optimizers. Checks that need
no objects are in config/limits.py.
"""

import math
import os
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelPruning,
    OnExceptionCheckpoint,
    StochasticWeightAveraging,
    Timer,
)
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import Profiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..config.build import build, import_target, refusal_of
from ..config.limits import schedules
from ..config.monitor import check_direction, direction, logged_by
from ..config.tree import all_nodes
from ..errors import RefusedError, own_frames, refusal
from ..order import BatchOrder
from . import lightning
from .processes import check_processes
from .trainer import place_of

# Callbacks of Lightning that break a promise of the run (exact, resumable, all in the config), and why.
UNSUPPORTED = {
    BatchSizeFinder: "chooses a size that is not in the config; try sizes with datamodule.batch_size=…",
    LearningRateFinder: "chooses a rate that is not in the config; try rates with --multirun model.optimizer.lr=…",
    BackboneFinetuning: "adds parameters to the optimizer during training, which schedules and resumed runs do not "
    "follow; init_from=<run> starts from trained weights",
    ModelPruning: "leaves its masks out of checkpoints, so a stopped run can't resume",
    StochasticWeightAveraging: "averages after the best checkpoint is saved, so the average is never tested; "
    "callbacks=[default,report,ema] averages from the first epoch on",
    OnExceptionCheckpoint: "last.ckpt is always written: save_minutes=…",
}
# Attributes and their smallest allowed value.
MINIMUM = {EarlyStopping: ("patience", 0), EMAWeightAveraging: ("update_every_n_steps", 1)}


def check_is(key: str, built: Any, kind: type) -> None:
    """Raises RefusedError if the object that `key` names is not a `kind`."""
    if not isinstance(built, kind):
        raise refusal(f"{key}._target_", type(built).__name__, f"is not a {kind.__name__}")


def check_callbacks(callbacks: dict[str, Any]) -> None:
    """Raises RefusedError, with its key, for a callback that is not one, does nothing, or would break the run."""
    for key, callback in callbacks.items():
        check_is(key, callback, Callback)
        name = type(callback).__name__
        for kind, why in UNSUPPORTED.items():
            if isinstance(callback, kind):
                raise refusal(f"{key}._target_", name, why)
        for kind, (attribute, minimum) in MINIMUM.items():
            if isinstance(callback, kind) and getattr(callback, attribute) < minimum:
                raise refusal(f"{key}.{attribute}", getattr(callback, attribute), f"expected at least {minimum}")
        if isinstance(callback, Timer):
            _check_duration(f"{key}.duration", callback)
        if type(callback).__module__.startswith("pytorch_lightning."):
            try:
                callback.load_state_dict(callback.state_dict())
            except Exception as error:
                why = f"can't take back the state that it saves ({error}), so the run could not be tested or resumed"
                raise refusal(f"{key}._target_", name, why) from error


def _check_duration(key: str, timer: Timer) -> None:
    limit: float | None = lightning.duration(timer)
    if limit is not None and limit <= 0:
        raise refusal(key, timedelta(seconds=limit), "nothing would be trained")


def check_trainer(cfg: DictConfig, trainer: Any, callbacks: dict[str, Callback]) -> None:
    """Raises RefusedError for anything that this Trainer would fail on, or wait for in vain."""
    check_is("trainer", trainer, Trainer)
    check_is("trainer.profiler", trainer.profiler, Profiler)
    for timer in trainer.callbacks:
        if isinstance(timer, Timer) and timer not in callbacks.values():
            _check_duration("trainer.max_time", timer)
    for key, callback in callbacks.items():
        if isinstance(callback, GradientAccumulationScheduler) and trainer.accumulate_grad_batches != 1:
            why = f"{key} schedules the accumulation; leave out one of both"
            raise refusal("trainer.accumulate_grad_batches", trainer.accumulate_grad_batches, why)
    on_cpu = isinstance(trainer.accelerator, CPUAccelerator)
    if isinstance(trainer.strategy, SingleDeviceStrategy) and on_cpu and trainer.strategy.root_device.type != "cpu":
        raise refusal("trainer.strategy.device", trainer.strategy.root_device, "trainer.accelerator is the CPU")
    if on_cpu and cfg.trainer.get("sync_batchnorm"):
        raise refusal("trainer.sync_batchnorm", True, "is for GPUs; the accelerator is the CPU")
    cores = os.cpu_count() or 1
    if on_cpu and trainer.num_devices > max(8, cores):
        raise refusal("trainer.devices", trainer.num_devices, f"are processes here, and this machine has {cores} cores")
    check_processes(trainer)


def check_loggers(group: DictConfig | None) -> None:
    """Raises RefusedError for a logger that is not one; its arguments are checked in config/check.py."""
    for name, node in (group or {}).items():
        target = import_target(node["_target_"])
        if isinstance(target, type) and not issubclass(target, Logger):
            raise refusal(f"logger.{name}._target_", target.__name__, "is not a Logger")


class Trial(NamedTuple):
    """Number of optimizer steps in training; optimizers and schedules like those that will train, but not the same."""

    steps: float
    optimizers: list[Optimizer]
    schedulers: list[Any]


def try_loops(cfg: DictConfig, model: LightningModule, datamodule: LightningDataModule) -> Trial:
    """Let a separate Trainer take the data and the optimizers, as when training begins; computes no batch.

    Raises RefusedError if the Trainer's switches do not fit the number of batches, or nothing can be trained.
    """
    check_is("model", model, LightningModule)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = build(cfg.trainer, place=place_of(cfg), callbacks=[], profiler=None, **quiet)
    trainer.fit_loop.max_epochs = -1 if trainer.max_epochs is None else trainer.max_epochs  # as `fit` sets it
    trainer.strategy.connect(model)
    lightning.attach_data(trainer, model, datamodule)
    trainer.state.fn, trainer.training = TrainerFn.FITTING, True
    try:
        _check_sampler(trainer, datamodule)
        _try_loaders(cfg, trainer, datamodule)
        _check_first_validation(cfg, trainer)
        return Trial(trainer.estimated_stepping_batches, *_try_optimizers(cfg, model))
    finally:
        trainer.fit_loop.teardown()
        model.trainer = datamodule.trainer = None


def _check_sampler(trainer: Trainer, datamodule: LightningDataModule) -> None:
    """Raises RefusedError if Lightning would divide data that the datamodule has already divided."""
    if trainer.world_size == 1 or not lightning.divides_data(trainer):
        return
    if isinstance(getattr(datamodule.train_dataloader(), "sampler", None), BatchOrder):
        why = "the datamodule divides its data among the processes itself; expected false"
        raise refusal("trainer.use_distributed_sampler", True, why)


def _try_loaders(cfg: DictConfig, trainer: Trainer, datamodule: LightningDataModule) -> None:
    try:
        trainer.fit_loop.setup_data()
        trainer.fit_loop.epoch_loop.val_loop.setup_data()
        limit = trainer.limit_test_batches
        if isinstance(limit, float) and 0 < limit < 1:
            datamodule.setup("test")
            trainer.testing = True
            trainer.test_loop.setup_data()
            trainer.training = True
    except Exception as error:
        if any(Path(frame.filename) != Path(__file__) for frame in own_frames(error)):
            raise
        node: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
        if node.get("overfit_batches"):  # the limits follow from it
            reason = " ".join(str(error).replace("limit_train_batches", "overfit_batches").split())
            raise refusal("trainer.overfit_batches", node["overfit_batches"], reason) from error
        names = sorted((name for name in node if name in str(error)), key=str(error).index)  # the first is the cause
        raise refusal_of({name: node[name] for name in [*names, *node]}, "trainer", error) from error
    if trainer.num_training_batches == 0:
        raise RefusedError("datamodule: train_dataloader() has no batch")
    is_endless = trainer.num_training_batches == math.inf and trainer.max_steps == -1
    for key in schedules(OmegaConf.to_container(cfg.model, resolve=True)) if is_endless else ():
        raise refusal("trainer.max_steps", "", f"has to be given: {key} needs it, and the data has no length")


def _check_first_validation(cfg: DictConfig, trainer: Any) -> None:
    """Raises RefusedError if training would end before the metric of `monitor` is measured."""
    if not cfg.monitor.startswith("val/") or trainer.val_check_batch is None:
        return
    epochs, steps = (math.inf if each in (None, -1) else each for each in (trainer.max_epochs, trainer.max_steps))
    batches = min(epochs * trainer.num_training_batches, steps * trainer.accumulate_grad_batches)
    first = trainer.val_check_batch
    if trainer.check_val_every_n_epoch is not None:
        first += (trainer.check_val_every_n_epoch - 1) * trainer.num_training_batches
    if batches < first and trainer.val_check_batch != math.inf:
        key = "max_steps" if trainer.max_steps != -1 else "val_check_interval"
        why = f"the training ends after {batches} batches, and is first validated after {first}, so there is no "
        why += f"monitor={cfg.monitor}; a smaller trainer.val_check_interval validates sooner"
        raise refusal(f"trainer.{key}", cfg.trainer.get(key), why)


def _try_optimizers(cfg: DictConfig, model: LightningModule) -> tuple[list[Optimizer], list[Any]]:
    if is_overridden("configure_model", model):  # its parameters are created when training begins
        return [], []
    nodes = list(all_nodes("model", OmegaConf.to_container(cfg.model, resolve=True)))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        partial = next((f"; {key}._partial_=true makes no network" for key, node in nodes if node.get("_partial_")), "")
        raise RefusedError(f"model: has no parameter to train{partial}", "model")
    try:
        optimizers, schedulers = lightning.optimizers_and_schedulers(model)
    except RefusedError as error:  # names the argument, but not its place in the config
        keys = [f"{key}.{error.key}" for key, node in nodes if error.key in node]
        if len(keys) != 1:
            raise
        raise RefusedError(str(error).replace(str(error.key), keys[0], 1), keys[0]) from error
    logged = vars(model).get("logged") or logged_by(cfg.model._target_) or {}
    for each in schedulers:
        if isinstance(each.scheduler, ReduceLROnPlateau) and logged:
            way = direction("monitor", each.monitor, logged, cfg.model._target_)
            check_direction("model.scheduler.mode", each.scheduler.mode, way, each.monitor)
    return optimizers, [each.scheduler for each in schedulers]


def check_states(trial: Trial, checkpoint: dict[str, Any], name: str) -> None:
    """Raises RefusedError if the run `name` can't resume from the states of another training (`resume=inexact`)."""
    fix = f"resume=inexact: take the settings of name={name}, or another name= and init_from=runs/{name}"
    for optimizer, state in zip(trial.optimizers, checkpoint["optimizer_states"], strict=False):
        try:
            optimizer.load_state_dict(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise RefusedError(f"{fix}: the optimizer does not take the saved state: {error}") from error
        if missing := optimizer.defaults.keys() - optimizer.param_groups[0].keys():
            raise RefusedError(f"{fix}: the saved optimizer is another one, without {', '.join(sorted(missing))}")
    for state in checkpoint["lr_schedulers"]:
        total = _total_steps(state)
        if total is not None and trial.steps > total:
            raise RefusedError(f"{fix}: its schedule ends after {total} steps, and this training takes {trial.steps}")


def _total_steps(state: dict[str, Any]) -> int | None:
    """Return the number of steps after which a saved schedule (OneCycleLR, also nested) ends, or None."""
    totals = [state.get("total_steps"), *map(_total_steps, state.get("_schedulers", []))]
    return min((each for each in totals if each is not None), default=None)
