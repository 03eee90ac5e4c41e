"""Loss and scores of an epoch, at little cost a step."""

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from .targets import ClassTarget, NumberTarget


class EpochMetrics(nn.Module):
    """Gathers batches and hands them to torchmetrics `every` batches: an update costs much more than a list entry."""

    def __init__(self, target: NumberTarget | ClassTarget, every: int = 50) -> None:
        super().__init__()
        self.target = [target]  # in a list: it is the model's module, not a second one here
        self.loss, self.scores = MeanMetric(), target.scores()
        self.every = every
        self.waiting: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, loss: Tensor, predictions: Tensor, targets: Tensor) -> None:
        """Take in a batch: its mean `loss` (), what the model predicts (B,) or (B, K), and `targets` (B,)."""
        self.waiting.append((loss.detach(), predictions.detach(), targets))
        if len(self.waiting) == self.every:
            self._hand_over()

    def compute(self) -> dict[str, Tensor]:
        """`loss` and the target's scores, each (), since the last call; starts anew."""
        self._hand_over()
        values = {"loss": self.loss.compute(), **self.target[0].named(self.scores.compute())}
        self.loss.reset()
        self.scores.reset()
        return values

    def epoch_state(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The batches that wait, for a checkpoint within the epoch; torchmetrics' own are saved beside."""
        return list(self.waiting)

    def load_epoch_state(self, state: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Go on with what `epoch_state` has returned."""
        self.waiting = list(state)

    def _hand_over(self) -> None:
        if not self.waiting:
            return
        losses, predictions, targets = zip(*self.waiting, strict=True)
        self.waiting = []
        sizes = [len(batch) for batch in targets]
        self.loss.update(torch.stack(losses), torch.tensor(sizes, device=losses[0].device))
        self.scores.update(*self.target[0].scored(torch.cat(predictions), torch.cat(targets)))
