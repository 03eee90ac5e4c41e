"""Loss and metrics of an epoch, at low cost per step."""

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from .targets import ClassTarget, NumberTarget


class EpochMetrics(nn.Module):
    """Metrics of one epoch, passed to torchmetrics every `every` batches, since an update costs more than an append."""

    def __init__(self, target: NumberTarget | ClassTarget, every: int = 50) -> None:
        super().__init__()
        self.target = [target]  # in a list, so that it is not registered as a submodule: it is the model's
        self.loss, self.scores = MeanMetric(), target.scores()
        self.every = every
        self.waiting: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, loss: Tensor, predictions: Tensor, targets: Tensor) -> None:
        """Add a batch: its mean `loss` (), `predictions` (B,) or (B, K), and `targets` (B,) or (B, 2)."""
        self.waiting.append((loss.detach(), predictions.detach(), targets))
        if len(self.waiting) == self.every:
            self._hand_over()

    def compute(self) -> dict[str, Tensor]:
        """Return and reset `loss` and the target's metrics, each ()."""
        self._hand_over()
        values = {"loss": self.loss.compute(), **self.target[0].named(self.scores.compute())}
        self.loss.reset()
        self.scores.reset()
        return values

    def epoch_state(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Batches not yet passed to torchmetrics, for a checkpoint within the epoch; metric states are saved apart."""
        return list(self.waiting)

    def load_epoch_state(self, state: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Restore what `epoch_state` returned."""
        self.waiting = list(state)

    def _hand_over(self) -> None:
        if not self.waiting:
            return
        losses, predictions, targets = zip(*self.waiting, strict=True)
        self.waiting = []
        sizes = [len(batch) for batch in targets]
        self.loss.update(torch.stack(losses), torch.tensor(sizes, device=losses[0].device))
        self.scores.update(*self.target[0].scored(torch.cat(predictions), torch.cat(targets)))
