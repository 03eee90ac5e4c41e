"""Loss and metrics of an epoch, at low cost per step."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection


class EpochMetrics(nn.Module):
    """Metrics of one epoch, passed to torchmetrics every `every` batches, since an update costs more than an append.

    `prepare` maps the predictions and targets of these batches to what the `scores` take; None: they take them as is.
    """

    def __init__(
        self,
        scores: Metric | MetricCollection,
        prepare: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        every: int = 50,
    ) -> None:
        super().__init__()
        self.loss, self.scores = MeanMetric(), scores
        self.prepare, self.every = prepare, every
        self.waiting: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, loss: Tensor, predictions: Tensor, targets: Tensor) -> None:
        """Add a batch: its mean `loss` (), `predictions` (B, …) and `targets` (B, …)."""
        self.waiting.append((loss.detach(), predictions.detach(), targets))
        if len(self.waiting) == self.every:
            self._flush()

    def compute(self) -> dict[str, Tensor]:
        """Return `loss` () and the `scores`, then reset both."""
        self._flush()
        values = {"loss": self.loss.compute(), **self.scores.compute()}
        self.loss.reset()
        self.scores.reset()
        return values

    def epoch_state(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return the batches not yet passed to torchmetrics, for a checkpoint within the epoch.

        The states of the metrics are saved separately.
        """
        return list(self.waiting)

    def load_epoch_state(self, state: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Restore what `epoch_state` returned."""
        self.waiting = list(state)

    def _flush(self) -> None:
        """Pass the waiting batches to torchmetrics."""
        if not self.waiting:
            return
        losses, predictions, targets = (list(each) for each in zip(*self.waiting, strict=True))
        self.waiting = []
        sizes = [len(batch) for batch in targets]
        self.loss.update(torch.stack(losses), torch.tensor(sizes, device=losses[0].device))
        both = torch.cat(predictions), torch.cat(targets)
        self.scores.update(*(self.prepare(*both) if self.prepare else both))
