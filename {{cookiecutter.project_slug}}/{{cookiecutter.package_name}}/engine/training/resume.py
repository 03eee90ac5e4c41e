"""What a checkpoint holds, and exact resuming: a resumed run ends bit-identical to an uninterrupted one."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from torch import nn
from torchmetrics import Metric

from ..errors import RefusedError, StoppedError
from ..logs import log
from ..order import BatchOrder, seed_of
from ..runs.folder import RunFolder
from ..signals import stopping
from . import lightning
from .metrics_log import MetricsLog

# Reductions of `self.log`, by a name that a checkpoint can hold.
REDUCTIONS: dict[str, Any] = {
    "mean": torch.mean, "sum": torch.sum, "max": torch.max, "min": torch.min,
    "builtin sum": sum, "builtin max": max, "builtin min": min,
}  # fmt: skip


def reseed(*key: int) -> None:
    """Seed the global generators of torch, numpy and Python; torch.manual_seed alone takes five times as long."""
    seed = seed_of(*key)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


class ExactResume(Callback):
    """Save `last.ckpt` at the first step, every `minutes`, on a signal and at the end; restore its state."""

    def __init__(self, folder: RunFolder, seed: int, minutes: float, metrics_log: MetricsLog) -> None:
        self.folder, self.seed, self.minutes, self.metrics_log = folder, seed, minutes, metrics_log
        self.saved_at: float | None = None
        self.saved: dict[str, Any] = {}
        self.sums: dict[str, Any] = {}
        self.begun = 0  # steps begun by this process

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.trainer = trainer

    # State that Lightning's checkpoint lacks

    def state_dict(self) -> dict[str, Any]:
        return {
            "stop": self.trainer.should_stop,  # an early stop, even one that min_epochs delays
            "steps": lightning.steps_done(self.trainer),
            "rows": len(self.metrics_log.rows),
            "metrics": dict(lightning.callback_metrics(self.trainer)),
            "epoch": _of_each_process(epoch_state(self.trainer.lightning_module), self.trainer),
            # Right after a resume, before a step has logged, these are the sums still to be added.
            "sums": _of_each_process(self.sums or _sums(lightning.epoch_results(self.trainer)), self.trainer),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.saved = state_dict
        self.saved_at = time.monotonic()  # this step is already saved

    # Resuming

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = bool(self.saved.get("stop"))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        stopping.listen()  # Lightning has installed its own handler
        stopping.gentle = True
        loader: Any = trainer.train_dataloader
        if not isinstance(getattr(loader, "sampler", None), BatchOrder):
            log.warning("train_dataloader() has its own order (not that of datamodules/base.py): resuming is not exact")
        if self.saved:
            if trainer.current_epoch < 0 or trainer.global_step < 0:  # it would train for ever
                raise RefusedError(f"name={self.folder.name}: last.ckpt has a negative epoch or step")
            check_optimizer_states(trainer.optimizers)
            for each in trainer.checkpoint_callbacks:
                if isinstance(each, ModelCheckpoint):
                    forget_others_files(each, self.folder)
            with _as_refusal(self.folder):
                load_epoch_state(pl_module, _own_part(self.saved["epoch"], trainer))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        reseed(self.seed, trainer.current_epoch, trainer.global_rank)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.begun += 1
        stopping.alive = time.monotonic()
        self._add_sums(trainer)
        if self.saved:
            with _as_refusal(self.folder):
                self._restore(trainer)
        if batch_idx % trainer.accumulate_grad_batches == 0:  # no gradient is partly accumulated
            self._save_where_due(trainer)
        reseed(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)

    def _restore(self, trainer: Any) -> None:
        """Before the first step, correct what Lightning's loops do differently after a restart."""
        lightning.set_steps_done(trainer, self.saved["steps"])
        loop = trainer.fit_loop.epoch_loop
        loop.batch_progress.total.ready = loop.batch_progress.total.completed + 1  # else this step counts twice
        for each in trainer.callbacks:
            if isinstance(each, GradientAccumulationScheduler):  # Lightning calls it only when an epoch begins
                each.on_train_epoch_start(trainer)
        lightning.end_restart(trainer)
        device = trainer.strategy.root_device
        lightning.callback_metrics(trainer).update(_to_device(self.saved["metrics"], device))
        self.sums = _to_device(_own_part(self.saved["sums"], trainer), device)
        self.saved = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._add_sums(trainer)

    def _add_sums(self, trainer: Trainer) -> None:
        """After the first step has logged, add the sums of `self.log(…, on_epoch=True)` from before the stop."""
        with _as_refusal(self.folder):
            for key, saved in self.sums.items():
                _add_sum(trainer, key, saved)
        self.sums = {}

    # Randomness outside training steps

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        reseed(self.seed, trainer.current_epoch, trainer.global_step, trainer.global_rank, 1)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        reseed(self.seed, trainer.current_epoch, trainer.global_step, trainer.global_rank, 2)

    def on_validation_batch_start(self, *args: Any, **kwargs: Any) -> None:
        stopping.alive = time.monotonic()

    on_test_batch_start = on_validation_batch_start

    # Saving

    def _save_where_due(self, trainer: Trainer) -> None:
        due = self.saved_at is None or time.monotonic() - self.saved_at >= 60 * self.minutes
        code = stopping.received or int(due)  # 1: due; no handled signal has that number
        if trainer.world_size > 1:
            codes = torch.tensor(code, device=trainer.strategy.root_device)
            code = int(trainer.strategy.reduce(codes, reduce_op="max"))
        if code:
            self._save(trainer)
        if code > 1:
            raise StoppedError(code, f"Stopped; the state of step {lightning.steps_done(trainer)} is saved.")

    def _save(self, trainer: Trainer) -> None:
        progress = trainer.fit_loop.epoch_loop.batch_progress
        is_last, progress.is_last_batch = progress.is_last_batch, False  # already set for the next batch
        self.metrics_log.flush()
        trainer.save_checkpoint(self.folder.last, weights_only=False)  # the whole state
        progress.is_last_batch = is_last
        self.saved_at = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)
        stopping.gentle = False
        if stopping.received:
            raise StoppedError(stopping.received, "Stopped; the training is done and saved, the test is not.")


@contextmanager
def _as_refusal(folder: RunFolder) -> Iterator[None]:
    """Raises RefusedError for any error while the state of last.ckpt, which may be untrusted, is restored."""
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise RefusedError(f"name={folder.name}: last.ckpt holds no state to resume from: {reason}") from error


def _add_sum(trainer: Any, key: str, saved: dict[str, Any]) -> None:
    """Add the sum of one name of `self.log` before the stop to its sum since then."""
    results = lightning.epoch_results(trainer)
    if key not in results:  # not logged in this step: begin it as `self.log` does, but empty
        arguments = {**saved["how"], "reduce_fx": REDUCTIONS[saved["how"]["reduce_fx"]]}
        zero = torch.zeros_like(saved["state"]["value"])
        results.log(**arguments, value=zero, batch_size=0, sync_dist_fn=trainer.strategy.reduce)
        results[key].reset()
        results[key].has_reset = False
    meta = results[key].meta
    for name in saved["state"].keys() | results[key].metric_state.keys():
        before, since = saved["state"][name], getattr(results[key], name)
        if before.shape != since.shape:
            raise ValueError(f"{key} has the shape {tuple(before.shape)} in place of {tuple(since.shape)}")
        is_extreme = name == "value" and (meta.is_max_reduction or meta.is_min_reduction)
        setattr(results[key], name, (meta.reduce_fx if is_extreme else torch.add)(before, since))


def progress_of(checkpoint: dict[str, Any]) -> tuple[int, int]:
    """Return the steps done and the rows of metrics.csv when a checkpoint was saved; global_step may count more steps.

    Raises RefusedError if the checkpoint does not say.
    """
    callbacks = checkpoint.get("callbacks")
    saved = callbacks.get("ExactResume") if isinstance(callbacks, dict) else None
    saved = saved if isinstance(saved, dict) else {}
    steps, rows = saved.get("steps", checkpoint.get("global_step")), saved.get("rows", 0)
    if not isinstance(steps, int) or not isinstance(rows, int):
        raise RefusedError("the checkpoint does not say after how many steps it was saved (global_step)")
    return steps, rows


def check_optimizer_states(optimizers: list[Any]) -> None:
    """Raises RefusedError if a restored state does not have the layout of its parameter.

    A fused kernel does not check: it would read and write beyond a smaller one, with the contents of an untrusted file.
    """
    for optimizer in optimizers:
        groups = [group for group in optimizer.param_groups if group.get("fused")]
        for parameter in (each for group in groups for each in group["params"]):
            for name, value in optimizer.state.get(parameter, {}).items():
                shape = torch.Size([]) if name == "step" else parameter.shape
                if value is not None and not (torch.is_tensor(value) and value.shape == shape and _is_whole(value)):
                    raise RefusedError(f"the saved state {name!r} of an optimizer does not fit its parameter")


def forget_others_files(callback: ModelCheckpoint, folder: RunFolder) -> None:
    """Make a ModelCheckpoint forget files outside the run, which it would remove: an untrusted checkpoint can name any.

    AtomicCheckpointIO would not remove them, but a CheckpointIO of trainer.plugins removes whole folders.
    """
    homes = {folder.path.resolve(), Path(callback.dirpath or folder.path).resolve()}

    def is_own(path: Any) -> bool:
        is_file = isinstance(path, str) and path.endswith(".ckpt")
        return path == "" or (is_file and not homes.isdisjoint(Path(path).resolve().parents))

    callback.best_k_models = {path: value for path, value in callback.best_k_models.items() if is_own(path)}
    for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
        if not is_own(getattr(callback, name)):
            setattr(callback, name, "")
    is_full = 0 < callback.save_top_k <= len(callback.best_k_models)
    if is_full and callback.kth_best_model_path not in callback.best_k_models:  # where Lightning looks it up
        callback.best_k_models = {}


def _is_whole(tensor: torch.Tensor) -> bool:
    """True if the storage has room for every element, unlike that of an expanded tensor."""
    bytes_behind = tensor.untyped_storage().nbytes() - tensor.storage_offset() * tensor.element_size()
    return bytes_behind >= tensor.numel() * tensor.element_size()


def epoch_state(model: nn.Module) -> dict[str, Any]:
    """Return the states of the metrics in this epoch, by module name.

    Of a torchmetrics.Metric, and of each other module that has a method `epoch_state`.
    """
    modules: dict[str, Any] = dict(model.named_modules())
    states = {name: lightning.metric_state(each) for name, each in modules.items() if isinstance(each, Metric)}
    others = {name: each for name, each in modules.items() if name not in states and hasattr(each, "epoch_state")}
    return states | {name: each.epoch_state() for name, each in others.items()}


def load_epoch_state(model: nn.Module, states: dict[str, Any]) -> None:
    """Restore the states that `epoch_state` returned."""
    device = next(model.parameters()).device
    for name, state in _to_device(states, device).items():
        module: Any = model.get_submodule(name)
        if isinstance(module, Metric):
            lightning.set_metric_state(module, state)
        else:
            module.load_epoch_state(state)


def _sums(results: Any) -> dict[str, Any]:
    """Return the sums of `self.log(…, on_epoch=True)` in this epoch, and its arguments."""
    return {
        key: {"how": _arguments(each.meta), "state": dict(each.metric_state)}
        for key, each in results.items()
        if each.is_tensor and each.meta.on_epoch and not each.has_reset
    }


def _arguments(meta: Any) -> dict[str, Any]:
    """Return the arguments of `self.log` that Lightning compares between two calls with one name."""
    names = (
        "fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx",
        "metric_attribute",
    )  # fmt: skip
    reduction = next(name for name, function in REDUCTIONS.items() if function is meta.reduce_fx)
    sync = {"sync_dist": meta.sync.should, "rank_zero_only": meta.sync.rank_zero_only}
    return {name: getattr(meta, name) for name in names} | sync | {"reduce_fx": reduction}


def _own_part(states: list[Any], trainer: Trainer) -> dict[str, Any]:
    """Return the part of this process; empty if the run began with another number of them (`resume=inexact`)."""
    return states[trainer.global_rank] if len(states) == trainer.world_size else {}


def _of_each_process(state: Any, trainer: Trainer) -> list[Any]:
    """Gather the states of all processes, in the order of their ranks."""
    if trainer.world_size == 1:
        return [state]
    states: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(states, _to_device(state, torch.device("cpu")))
    return states


def _to_device(state: Any, device: torch.device) -> Any:
    return apply_to_collection(state, torch.Tensor, lambda tensor: tensor.to(device))
