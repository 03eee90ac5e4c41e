"""What is predicted: a number or a class. Of each how a network's outputs are read, the loss, and the scores."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection, R2Score
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from .features import as_float64, scaled, two_floats


class NumberTarget(nn.Module):
    """A number of the `mean` and `std` of the training rows: networks and losses work about 0, in units of `std`.

    Targets (B, 2) are two_floats and predictions (B,) float64: float32 cannot tell a billion from a billion and one.
    """

    num_outputs = 1
    scored_by = ("mae", "rmse", "r2")
    mean: Tensor
    std: Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", two_floats(torch.tensor(mean, dtype=torch.float64)))
        self.register_buffer("std", torch.tensor(std))

    def read(self, outputs: Tensor) -> Tensor:
        """A network's outputs (B, 1) as numbers (B,) in the target's unit, float64."""
        return as_float64(self.mean).sum() + as_float64(self.std) * as_float64(outputs[:, 0])

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error in units of `std`."""
        return F.mse_loss(*self.scored(predictions, targets))

    def scores(self) -> MetricCollection:
        return MetricCollection({"mae": MeanAbsoluteError(), "mse": MeanSquaredError(), "r2": R2Score()})

    def scored(self, predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Both about 0 and in units of `std`, float32 (B,): exact enough wherever the target lies."""
        about_0 = (predictions - as_float64(self.mean).sum()) / as_float64(self.std)
        return about_0.to(self.std), scaled(targets, self.mean, self.std)

    def named(self, scores: dict[str, Tensor]) -> dict[str, Tensor]:
        """The scores in the target's unit, by the names that are logged."""
        return {"mae": scores["mae"] * self.std, "rmse": scores["mse"].sqrt() * self.std, "r2": scores["r2"]}

    def answer(self, predictions: Tensor) -> Tensor:
        """What predict.py writes: (B,)."""
        return predictions


class ClassTarget(nn.Module):
    """One of `num_outputs` classes."""

    scored_by = ("accuracy", "macro_f1")

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.num_outputs = num_outputs

    def read(self, outputs: Tensor) -> Tensor:
        """Logits (B, K)."""
        return outputs.float()

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy (log loss)."""
        return F.cross_entropy(logits, targets)

    def scores(self) -> MetricCollection:
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(self.num_outputs, average="micro", validate_args=False),
                "macro_f1": MulticlassF1Score(self.num_outputs, average="macro", validate_args=False),
            }
        )

    def scored(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return logits, targets

    def named(self, scores: dict[str, Tensor]) -> dict[str, Tensor]:
        return scores

    def answer(self, logits: Tensor) -> Tensor:
        """What predict.py writes: probabilities (B, K)."""
        return logits.softmax(-1)


def target_of(class_names: Sequence[str], statistics: dict[str, Any]) -> NumberTarget | ClassTarget:
    """A class where there are names of classes, else a number."""
    return ClassTarget(len(class_names)) if class_names else NumberTarget(**statistics["target"])
