"""Targets: a number or a class. Each has its loss and metrics, and decodes the outputs of a network."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection, R2Score
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from .features import Statistics, as_float64, scaled, two_floats


class NumberTarget(nn.Module):
    """A number, standardised by `mean` and `std` of the training rows for networks and losses.

    Targets (B, 2) are two_floats and predictions (B,) float64: float32 can't tell 1,000,000,000 from 1,000,000,001.
    """

    num_outputs = 1
    scored_by = ("mae", "rmse", "r2")
    mean: Tensor
    std: Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", two_floats(torch.tensor(mean, dtype=torch.float64)))
        self.register_buffer("std", torch.tensor(std))

    def decode(self, outputs: Tensor) -> Tensor:
        """Decode outputs (B, 1) to numbers (B,) in the target's unit, float64."""
        return as_float64(self.mean).sum() + as_float64(self.std) * as_float64(outputs[:, 0])

    def loss(self, predictions: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean squared error in units of `std`, with `weights` (B,) of the rows."""
        if weights is None:
            return F.mse_loss(*self.normalized(predictions, targets))
        return (weights * F.mse_loss(*self.normalized(predictions, targets), reduction="none")).mean()

    def scores(self) -> MetricCollection:
        return MetricCollection({"mae": MeanAbsoluteError(), "mse": MeanSquaredError(), "r2": R2Score()})

    def normalized(self, predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Standardise predictions and targets to float32 (B,), which is precise wherever the target lies."""
        centred = (predictions - as_float64(self.mean).sum()) / as_float64(self.std)
        return centred.to(self.std), scaled(targets, self.mean, self.std)

    def in_units(self, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert the metrics of normalized numbers to the target's unit; the loss stays in units of `std`."""
        mae, rmse = metrics["mae"] * self.std, metrics["mse"].sqrt() * self.std
        return {"loss": metrics["loss"], "mae": mae, "rmse": rmse, "r2": metrics["r2"]}

    def to_prediction(self, predictions: Tensor) -> Tensor:
        """Return the predictions (B,) for predict.py."""
        return predictions


class ClassTarget(nn.Module):
    """One of `num_outputs` classes."""

    scored_by = ("accuracy", "macro_f1")

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.num_outputs = num_outputs

    def decode(self, outputs: Tensor) -> Tensor:
        """Decode outputs to logits (B, K)."""
        return outputs.float()

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Cross-entropy (log loss), with `weights` (B,) of the rows."""
        if weights is None:
            return F.cross_entropy(logits, targets)
        return (weights * F.cross_entropy(logits, targets, reduction="none")).mean()

    def scores(self) -> MetricCollection:
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(self.num_outputs, average="micro", validate_args=False),
                "macro_f1": MulticlassF1Score(self.num_outputs, average="macro", validate_args=False),
            }
        )

    def normalized(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return logits, targets

    def in_units(self, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
        return metrics

    def to_prediction(self, logits: Tensor) -> Tensor:
        """Return class probabilities (B, K) for predict.py."""
        return logits.softmax(-1)


def target_of(class_names: Sequence[str], statistics: Statistics) -> NumberTarget | ClassTarget:
    """Make a class target if there are class names, else a number target."""
    return ClassTarget(len(class_names)) if class_names else NumberTarget(**statistics["target"])
