"""Targets: a number or a class. Each has its loss and metrics, and decodes the outputs of a network."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, MetricCollection, R2Score

from ..engine import refusal
from .classes import ClassScores, Decision, positive_class_of, quick_scores, weighted_cross_entropy, weights_of
from .features import Statistics, as_float64, scaled, two_floats


class NumberTarget(nn.Module):
    """A number, standardised by `mean` and `std` of the training rows for networks and losses.

    Targets (B, 2) are two_floats and predictions (B,) float64: float32 can't tell 1,000,000,000 from 1,000,000,001.
    """

    num_outputs = 1
    scored_by = ("mae", "rmse", "r2")
    decision: Decision | None = None
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

    def scores(self, split: str) -> Metric | MetricCollection:
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
    """One of the classes, with the `weights` (K,) of their rows in the loss, and the `decision` for one of them."""

    weights: Tensor | None

    def __init__(self, class_names: Sequence[str], decision: Decision, weights: Tensor | None = None) -> None:
        super().__init__()
        self.class_names, self.decision, self.num_outputs = class_names, decision, len(class_names)
        self.register_buffer("weights", weights, persistent=False)  # follows from the hyper-parameters
        of_classes = [f"{score}/{name}" for score in ("precision", "recall", "f1") for name in class_names]
        whole = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "average_precision", "calibration_error")
        self.scored_by = (*whole, *of_classes, *(() if decision.choice is None else ("threshold",)))

    def decode(self, outputs: Tensor) -> Tensor:
        """Decode outputs to logits (B, K)."""
        return outputs.float()

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Cross-entropy (log loss), with the weights of the classes and `weights` (B,) of the rows."""
        return weighted_cross_entropy(logits, targets, self.weights, weights)

    def scores(self, split: str) -> Metric | MetricCollection:
        """Return the scores of a split; those of "val" choose the threshold of the decision."""
        if split == "train":
            return quick_scores(self.num_outputs)
        return ClassScores(self.class_names, self.decision, choose=split == "val")

    def normalized(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return logits, targets

    def in_units(self, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
        return metrics

    def to_prediction(self, logits: Tensor) -> Tensor:
        """Return class probabilities (B, K) for predict.py."""
        return logits.softmax(-1)


def target_of(class_names: list[str], statistics: Statistics, **options: Any) -> NumberTarget | ClassTarget:
    """Make a class target if there are class names, else a number target.

    The options of a class are `class_weights`, `positive_class` and `threshold`. Raises RefusedError if one is given
    for a number, or does not fit the classes.
    """
    if not class_names:
        for name, value in options.items():
            if value is not None:
                raise refusal(f"model.{name}", value, "is for classes; the target is a number: expected null")
        return NumberTarget(**statistics["target"])
    counts = statistics.get("class_counts", [])
    positive = positive_class_of(options["positive_class"], class_names, counts)
    decision = Decision(options["threshold"], positive, len(class_names))
    return ClassTarget(class_names, decision, weights_of(options["class_weights"], class_names, counts))
