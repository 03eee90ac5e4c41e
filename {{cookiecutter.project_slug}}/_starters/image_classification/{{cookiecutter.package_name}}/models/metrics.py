"""Loss, accuracy and F1 of an epoch, at little cost a step."""

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score


class EpochMetrics(nn.Module):
    """Gathers batches and hands them to torchmetrics `every` batches: an update costs much more than a list entry."""

    def __init__(self, num_classes: int, every: int = 50) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.scores = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(num_classes, average="micro", validate_args=False),
                "macro_f1": MulticlassF1Score(num_classes, average="macro", validate_args=False),
                "f1": MulticlassF1Score(num_classes, average="none", validate_args=False),
            }
        )
        self.every = every
        self.waiting: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Take in a batch: its mean `loss` (), `logits` (B, K) and `targets` (B,)."""
        self.waiting.append((loss.detach(), logits.detach(), targets))
        if len(self.waiting) == self.every:
            self._hand_over()

    def compute(self) -> dict[str, Tensor]:
        """`loss`, `accuracy`, `macro_f1`, each (), and `f1` (K,), since the last call; starts anew."""
        self._hand_over()
        values = {"loss": self.loss.compute(), **self.scores.compute()}
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
        losses, logits, targets = zip(*self.waiting, strict=True)
        self.waiting = []
        sizes = [len(batch) for batch in targets]
        self.loss.update(torch.stack(losses), torch.tensor(sizes, device=losses[0].device))
        self.scores.update(torch.cat(logits), torch.cat(targets))
