"""The objects that a config names, and the Trainer of a run. Every `_target_` of the project passes through here."""

import re
import sys
from contextlib import nullcontext
from importlib import import_module
from importlib.metadata import version
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.profilers import PassThroughProfiler

from .. import ALLOWED_TARGETS
from ..errors import RefusedError, own_frames, pip_command
from ..front_door.check import all_nodes, allowed
from ..front_door.sources import PACKAGE
from ..run_folder.checkpoints import AtomicCheckpointIO
from ..run_folder.folder import RUNS, RunFolder, alone, log
from ..run_folder.metrics import MetricsLog
from .exact import ExactResume

# Hydra 1.4 keeps to a whitelist of its own; 1.3 has none.
WHITELIST = [f"{name}.*" for name in (PACKAGE, *ALLOWED_TARGETS)] + list(ALLOWED_TARGETS)
HYDRA_1_4 = {} if version("hydra-core").startswith("1.3.") else {"_execution_whitelist_": WHITELIST}


def build(node: Any, *args: Any, recursive: bool = True, **kwargs: Any) -> Any:
    """Build `node`, a mapping with a `_target_`; its other keys, `args` and `kwargs` are the arguments.

    Arguments arrive as plain dicts and lists, so that they can be saved in a checkpoint. With `recursive=False` a
    nested `_target_` stays a dict, for the object itself to build.

    Raises RefusedError where a target may not be named by a config, where a package is not installed, or where the
    library that the target comes from refuses an argument. An error in this project's own code is raised as it is.
    """
    plain: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    for _, each in all_nodes("", plain):
        allowed(each["_target_"])
        imported(each["_target_"])  # an error in its module is then raised as it is, not as Hydra tells it
    try:
        return instantiate(plain, *args, _convert_="all", _recursive_=recursive, **kwargs, **HYDRA_1_4)
    except Exception as error:  # Hydra 1.3 raises InstantiationException, 1.4 what the target raised
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, RefusedError) or any(frame.filename != __file__ for frame in own_frames(cause)):
            raise cause from error
        raise _refused(plain, node._get_full_key(None) if node is not plain else "", cause) from error


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
