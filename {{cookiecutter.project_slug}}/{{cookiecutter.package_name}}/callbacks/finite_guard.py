"""Stop a run whose loss or weights are no longer finite, before a checkpoint holds them."""

import math
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import PositiveInt
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from ..engine import FailedError
from ..engine.order import BatchOrder


class Place(NamedTuple):
    """A training step: the epoch and the batch within it."""

    epoch: int
    batch_idx: int


class FiniteGuard(Callback):
    """Check each loss, and the weights every `every` steps and before each save. Raises FailedError if not finite.

    On a CPU, a loss is checked before the weights take the step. On other devices that would wait for the device, so
    losses are checked together every `every` steps. The batch that caused it is saved in the run's `nonfinite/`.
    """

    def __init__(self, every: PositiveInt = 50) -> None:
        self.every = every
        self.steps = 0
        self.losses: list[tuple[Place, Tensor]] = []  # scalar losses, not yet checked
        self.batches: deque[tuple[Place, Any]] = deque(maxlen=2)  # the last two batches

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.batches.append((Place(trainer.current_epoch, batch_idx), batch))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self.losses.append((self.batches[-1][0], loss.detach()))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self.steps += 1
        if self.steps % self.every == 0:
            self._check_all(trainer, pl_module)
        elif self.is_synchronous(pl_module):
            self._check_losses(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check before a ModelCheckpoint saves only weights, for which Lightning calls no hook."""
        self._check_all(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_all(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Check before any other checkpoint is written."""
        self._check_all(trainer, pl_module)

    def is_synchronous(self, pl_module: LightningModule) -> bool:
        """Return True if reading a number does not wait for the device."""
        return pl_module.device.type == "cpu"

    def _check_all(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_losses(trainer, pl_module)
        if self.batches and (names := bad_weights(pl_module)):
            self._stop(trainer, pl_module, self.batches[-1][0], f"after it {names} no longer finite")

    def _check_losses(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.losses:
            return
        values = torch.stack([loss.float() for _, loss in self.losses]).tolist()
        seen, self.losses = self.losses, []
        bad = next((number for number, value in enumerate(values) if not math.isfinite(value)), None)
        if bad is None:
            return
        names = bad_weights(pl_module) if self.is_synchronous(pl_module) else ""
        if names and len(self.batches) > 1:  # the step before made them non-finite
            self._stop(trainer, pl_module, self.batches[0][0], f"after it {names} no longer finite")
        self._stop(trainer, pl_module, seen[bad][0], f"the loss is {values[bad]}")

    def _stop(self, trainer: Trainer, pl_module: LightningModule, place: Place, problem: str) -> None:
        batch, ids = self._batch(trainer, place)
        behind = self.batches[-1][0].batch_idx - place.batch_idx if self.batches[-1][0].epoch == place.epoch else 0
        step = trainer.fit_loop.epoch_loop._batches_that_stepped - behind // trainer.accumulate_grad_batches
        rates = [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients)) if gradients else math.nan
        run = Path(trainer.default_root_dir)
        kept = run / "nonfinite" / f"epoch_{place.epoch}_batch_{place.batch_idx}.pt"
        kept.parent.mkdir(parents=True, exist_ok=True)
        content = {"step": step, "learning_rates": rates, "gradient_norm": norm, "ids": ids, "batch": batch}
        torch.save(content, kept)
        some = ", ".join(map(str, ids[:5])) + (f", … ({len(ids)} in all)" if len(ids) > 5 else "")
        raise FailedError(
            f"Step {step} (epoch {place.epoch}, batch {place.batch_idx}): {problem}; learning rate {rates[0]:.4g}, "
            f"gradient norm {norm:.4g}, samples {some or 'unknown'}. No checkpoint holds it.",
            f"  Its batch: torch.load('{kept.as_posix()}', weights_only=True)",
            f"  To see in which operation it began: the same command with name={run.name} trainer.detect_anomaly=true, "
            f"which resumes from {run.as_posix()}/checkpoints/last.ckpt",
        )

    def _batch(self, trainer: Trainer, place: Place) -> tuple[Any, list[Any]]:
        """Return the batch as the model saw it or, if it is no longer kept, as the data holds it; and its ids."""
        loader: Any = trainer.train_dataloader
        datamodule: Any = getattr(trainer, "datamodule", None)
        recent = dict(self.batches)
        order = getattr(loader, "sampler", None)
        if not isinstance(order, BatchOrder):
            return recent.get(place), []
        index = order.of_epoch(place.epoch)[place.batch_idx]
        batch = recent[place] if place in recent else loader.dataset[index]
        return batch, datamodule.sample_ids("train", index) if hasattr(datamodule, "sample_ids") else index.tolist()


def bad_weights(model: nn.Module) -> str:
    """Return the names of the parameters that are not finite, in a few words; empty if all are finite."""
    names = [name for name, parameter in model.named_parameters() if not torch.isfinite(parameter).all()]
    verb = "are" if len(names) > 1 else "is"
    return f"{', '.join(names[:2])}{f' and {len(names) - 2} more' if len(names) > 2 else ''} {verb}" if names else ""
