"""The objects that a config names, and the Trainer of a run. Every `_target_` of the project passes through here."""

import copy
import functools
import re
import sys
from contextlib import nullcontext
from importlib import import_module
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.profilers import PassThroughProfiler

from ..errors import RefusedError, own_frames, pip_command, refusal
from ..front_door.gate import Place, all_nodes, check_targets
from ..run_folder.checkpoints import AtomicCheckpointIO
from ..run_folder.folder import RUNS, RunFolder, alone, log, plain_values
from ..run_folder.metrics import MetricsLog, shown
from .exact import ExactResume


def build(node: Any, *args: Any, recursive: bool = True, place: Place | None = None, **kwargs: Any) -> Any:
    """Build `node`, a mapping with a `_target_`; its other keys, `args` and `kwargs` are the arguments.

    Arguments arrive as plain dicts and lists, so that they can be saved in a checkpoint. With `recursive=False` a
    nested `_target_` stays a dict, for the object itself to build. `args` and `kwargs` are handed on as they are.

    It is not Hydra's `instantiate`, which would interpolate the texts of the node and of `kwargs` once more: a text of
    a stranger's table or checkpoint could then call a resolver.

    Raises RefusedError where the node holds more than plain values, where a target may not be named at its `place` (by
    default the user's own where the node is a part of a config, else any: it may come out of a checkpoint), where a
    package is not installed, or where the library that the target comes from refuses an argument. An error in this
    project's own code is raised as it is.
    """
    plain: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    key = str(node._get_full_key(None)) if node is not plain else ""
    plain_values(plain, key)
    check_targets(key, plain, (Place.ANY if node is plain else Place.OWN) if place is None else place)
    for _, each in all_nodes("", plain):
        imported(each["_target_"])  # an error in its module is then raised as it is
    try:
        return _made(plain, args, kwargs, recursive)
    except Exception as error:
        if isinstance(error, RefusedError) or any(frame.filename != __file__ for frame in own_frames(error)):
            raise
        raise _refused(plain, key, error) from error


def _made(value: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, recursive: bool = True) -> Any:
    """The object that a checked node describes; of other plain values a copy, with an object for each node in them."""
    if isinstance(value, list | tuple):
        return [_made(part) for part in value]
    if not isinstance(value, dict):
        return value
    parts = {name: _made(part) if recursive else copy.deepcopy(part) for name, part in value.items()}
    if "_target_" not in parts:
        return parts
    target = imported(parts.pop("_target_"))
    partial = parts.pop("_partial_", False)
    arguments = {**parts, **(kwargs or {})}
    return functools.partial(target, *args, **arguments) if partial else target(*args, **arguments)


def datamodule_of(cfg: DictConfig) -> Any:
    """The datamodule of a config, with nothing read. Raises RefusedError where it is none."""
    datamodule = build(cfg.datamodule, place=Place.ANY)
    if not isinstance(datamodule, LightningDataModule):
        raise refusal("datamodule._target_", cfg.datamodule._target_, "is no LightningDataModule")
    return datamodule


def imported(target: str) -> Any:
    """The class or function that a `_target_` names."""
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)


def _refused(node: dict[str, Any], key: str, cause: BaseException) -> RefusedError:
    """The argument that the target's own message speaks of, by name or by value; else the whole node."""
    if isinstance(cause, ModuleNotFoundError):
        return RefusedError(f"{node['_target_']} needs a package that is not installed: {pip_command(cause)}")
    reason = " ".join(str(cause).split()) or type(cause).__name__
    words = set(re.findall(r"-?[\w.]*\w", reason))
    spoken = [name for name in node if f"{name}=" in reason] + [name for name in node if name in words]
    spoken += [name for name, value in node.items() if str(value) in words]
    if not spoken:
        return RefusedError(f"{key or node['_target_']}: {reason}", key)
    name = f"{key}.{spoken[0]}".lstrip(".")
    return RefusedError(f"{name}={node[spoken[0]]}: {reason}", name)


def build_trainer(cfg: DictConfig, folder: RunFolder) -> tuple[Trainer, MetricsLog]:
    """The Trainer with the callbacks and loggers of the config; metrics.csv and last.ckpt are always written."""
    metrics_log = MetricsLog(folder.path / "metrics.csv")
    with alone(RUNS):  # MLflow makes the tables of a new database without a lock
        loggers: list[Logger] = [metrics_log, *build_all(cfg.get("logger"), Place.OWN)]
    exact = ExactResume(folder, cfg.seed, cfg.save_minutes, metrics_log)
    place = place_of(cfg)
    callbacks = [exact, *build_callbacks(cfg, place)]
    trainer = build(cfg.trainer, place=place, callbacks=callbacks, logger=loggers, default_root_dir=str(folder.path))
    if isinstance(trainer.profiler, PassThroughProfiler):
        trainer.profiler = NoProfiler()
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = AtomicCheckpointIO(folder, within=place is Place.RERUN)
    else:
        log.warning("trainer.plugins has a CheckpointIO: whether a checkpoint is written whole is left to that")
    return trainer, metrics_log


def place_of(cfg: DictConfig) -> Place:
    """Whose the Trainer and the callbacks of a training are: of a run that is trained again, or the user's own."""
    return Place.RERUN if cfg.rerun else Place.OWN


def build_callbacks(cfg: DictConfig, place: Place = Place.OWN) -> list[Callback]:
    """Those of the config, and one that shows progress where it has none."""
    callbacks: list[Callback] = build_all(cfg.get("callbacks"), place)
    if cfg.trainer.get("enable_progress_bar") and not any(isinstance(each, ProgressBar) for each in callbacks):
        callbacks.append(TQDMProgressBar(refresh_rate=20) if sys.stdout.isatty() else EpochLines())
    return callbacks


class EpochLines(ProgressBar):
    """Progress where no terminal can show a bar: the validation of each epoch as a line of the log."""

    def disable(self) -> None:
        """Called by Lightning in each process but the first; `log` is silent there."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            metrics = ", ".join(f"{key} {shown(float(value))}" for key, value in trainer.progress_bar_metrics.items())
            log.info(f"Epoch {trainer.current_epoch + 1}, step {trainer.global_step}: {metrics}")


class NoProfiler(PassThroughProfiler):
    """Lightning's own way not to measure makes some forty context managers a step; one that is ready will do."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        return self.nothing


def build_all(group: DictConfig | None, place: Place = Place.OWN) -> list[Any]:
    """Each node of a group of options, in the order of the config."""
    return [build(node, place=place) for node in (group or {}).values()]
