"""Targets: a number, several numbers, or a class. Each has its loss and metrics, and decodes a network's outputs."""

import re
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
    """A number, standardised by `mean` and `std` of the training rows for networks and losses; or K of them, `names`.

    Targets (B, 2) are two_floats and predictions (B,) float64: float32 can't tell 1,000,000,000 from 1,000,000,001.
    Those of K numbers are (B, K, 2) and (B, K).
    """

    scored_by = ("mae", "rmse", "r2")
    decision: Decision | None = None
    mean: Tensor
    std: Tensor

    def __init__(self, mean: float | list[float], std: float | list[float], names: Sequence[str] = ()) -> None:
        super().__init__()
        self.register_buffer("mean", two_floats(torch.tensor(mean, dtype=torch.float64)))
        self.register_buffer("std", torch.tensor(std))
        self.num_outputs, self.names = self.std.numel(), names

    def decode(self, outputs: Tensor) -> Tensor:
        """Decode outputs (B, K) to numbers (B, K), or (B,) if there is one target, in the targets' units, float64."""
        outputs = outputs if self.std.ndim else outputs[:, 0]
        return as_float64(self.mean).sum(-1) + as_float64(self.std) * as_float64(outputs)

    def loss(self, predictions: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean squared error in units of `std`, with `weights` (B,) of the rows."""
        if weights is None:
            return F.mse_loss(*self.normalized(predictions, targets))
        errors = F.mse_loss(*self.normalized(predictions, targets), reduction="none")
        return (weights * errors.view(len(weights), -1).mean(1)).mean()

    def scores(self, split: str) -> Metric | MetricCollection:
        squared = MeanSquaredError(num_outputs=self.num_outputs)
        return MetricCollection({"mae": MeanAbsoluteError(), "mse": squared, "r2": R2Score()})

    def normalized(self, predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Standardise predictions and targets to float32 of their shape, precise wherever the targets lie."""
        centred = (predictions - as_float64(self.mean).sum(-1)) / as_float64(self.std)
        return centred.to(self.std), scaled(targets, self.mean, self.std)

    def in_units(self, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert the metrics of normalized numbers to the target's unit; the loss stays in units of `std`.

        Of several targets, all metrics are means in units of `std`, beside `rmse_<name>` in the unit of each.
        """
        mse, unit = metrics["mse"], torch.ones_like(self.std[0]) if self.std.ndim else self.std
        rmse = mse.mean().sqrt() * unit
        own = dict(zip(self.names, mse.sqrt() * self.std, strict=True)) if self.std.ndim else {}
        means = {"loss": metrics["loss"], "mae": metrics["mae"] * unit, "rmse": rmse, "r2": metrics["r2"]}
        return means | {f"rmse_{name}": each for name, each in own.items()}

    def to_prediction(self, predictions: Tensor) -> Tensor:
        """Return the predictions for predict.py."""
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


def target_of(
    class_names: list[str], statistics: Statistics, target: str | list[str], **options: Any
) -> NumberTarget | ClassTarget:
    """Make a class target if there are class names, else a target of one number or of several.

    The options of a class are `class_weights`, `positive_class` and `threshold`. Raises RefusedError if one is given
    for a number, or does not fit the classes, and ValueError if the statistics are not those of the targets.
    """
    if not class_names:
        for name, value in options.items():
            if value is not None:
                raise refusal(f"model.{name}", value, "is for classes; the target is a number: expected null")
        number = 0 if isinstance(target, str) else len(target)
        if any((len(each) if isinstance(each, list) else 0) != number for each in statistics["target"].values()):
            raise ValueError(f"its statistics are not those of the target {target}")
        return NumberTarget(**statistics["target"], names=[] if isinstance(target, str) else metric_names(target))
    counts = statistics.get("class_counts", [])
    positive = positive_class_of(options["positive_class"], class_names, counts)
    decision = Decision(options["threshold"], positive, len(class_names))
    return ClassTarget(class_names, decision, weights_of(options["class_weights"], class_names, counts))


def metric_names(targets: Sequence[str]) -> list[str]:
    """Name targets by letters, digits and `_` alone, which all loggers take; by their numbers if two would be equal."""
    names = [re.sub(r"\W+", "_", each).strip("_") for each in targets]
    return names if len({*names, ""}) > len(names) else [str(number) for number in range(1, len(names) + 1)]
