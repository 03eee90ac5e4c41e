"""Classes: their weights in the loss, and the scores of probabilities and decisions."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypedDict

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_calibration_error,
    multiclass_calibration_error,
    multiclass_stat_scores,
)
from torchmetrics.utilities import dim_zero_cat

from ..engine import refusal

ClassWeights = Literal["balanced"] | list[Annotated[float, Gt(0)]] | None


class ClassStatistics(TypedDict):
    """Statistics of the training samples."""

    class_counts: list[Annotated[int, Ge(0)]]  # samples of each class


def weights_of(choice: Any, class_names: list[str], counts: list[int]) -> Tensor | None:
    """Return the weight of each class (K,), scaled so that its mean over the training samples is 1; None for none.

    `choice` is None, a list of relative weights, or "balanced": inversely proportional to the `counts` of the training
    samples. Source: King & Zeng, "Logistic Regression in Rare Events Data", 2001, section 4.
    """
    if choice is None:
        return None
    key, expected = "model.class_weights", f"one for each of {', '.join(class_names[:8])}"
    expected += ", …" if len(class_names) > 8 else ""
    if len(counts) != len(class_names):
        raise refusal(key, choice, f"the data has {len(counts)} counts of samples; expected {expected}")
    size = torch.tensor(counts, dtype=torch.float64)
    if choice == "balanced":
        if 0 in counts:
            raise refusal(key, choice, f"class {class_names[counts.index(0)]!r} has no training samples")
        return (size.sum() / (len(counts) * size)).float()
    if len(choice) != len(class_names):
        raise refusal(key, choice, f"holds {len(choice)} numbers; expected {len(class_names)}, {expected}")
    weights = torch.tensor(choice, dtype=torch.float64)
    weights = weights / weights.max()
    return (weights * size.sum() / (weights * size).sum()).float()


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Compute the mean over the batch of the cross-entropy of logits (B, K), times the weight of the true class.

    It is divided by the number of samples, not by the sum of their weights as torch does: the latter undoes the weights
    in a batch of one class, and the mean over batches would not be that over the epoch.
    """
    if weights is None:
        return F.cross_entropy(logits, targets)
    return F.cross_entropy(logits, targets, weight=weights.to(logits.dtype), reduction="sum") / len(targets)


def positive_class_of(choice: str | int | None, class_names: Sequence[str], counts: Sequence[int]) -> int | None:
    """Return the index of the positive one of two classes; None if there are more.

    It is `choice`; by default the second, or the first if it has less than two thirds as many training samples: cases
    of interest are usually the rarer ones.
    """
    key = "model.positive_class"
    if len(class_names) != 2:
        if choice is not None:
            raise refusal(key, choice, f"is for two classes; the data has {len(class_names)}: expected null")
        return None
    if choice is None:
        return 0 if 3 * counts[0] < 2 * counts[1] else 1
    if str(choice) not in class_names:
        raise refusal(key, choice, f"is not a class; expected {' or '.join(class_names)}", class_names, str(choice))
    return [*class_names].index(str(choice))


class ClassScores(Metric):
    """Scores of a whole split, from logits (B, K) and classes (B,).

    `accuracy`, `balanced_accuracy` (mean recall), `macro_f1` and, of each class, `precision/<class>`, `recall/<class>`
    and `f1/<class>` rate decisions. `auroc` (mean of each class against the rest) and `average_precision` (mean over
    the classes or, of two, that of the `positive` one) rate the order of probabilities, and `calibration_error` their
    values.

    A class without a sample has no scores, and does not count in means. The precision of one that is never predicted
    is 0. What is not defined, such as the AUROC of samples of a single class, is left out.
    """

    full_state_update = False
    probabilities: list[Tensor]
    targets: list[Tensor]

    def __init__(self, class_names: Sequence[str], positive: int | None = None) -> None:
        super().__init__()
        self.class_names, self.positive = class_names, positive
        self.add_state("probabilities", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        self.probabilities.append(logits.float().softmax(-1))
        self.targets.append(targets)

    def compute(self) -> dict[str, Tensor]:
        if not self.update_called:
            return {}
        probabilities, targets = dim_zero_cat(self.probabilities), dim_zero_cat(self.targets)
        scores = decision_scores(probabilities.argmax(-1), targets, self.class_names)
        if probabilities.isfinite().all():
            scores |= probability_scores(probabilities, targets, self.positive)
        return scores


def decision_scores(decisions: Tensor, targets: Tensor, class_names: Sequence[str]) -> dict[str, Tensor]:
    """Compute the scores of decisions (N,)."""
    counts = multiclass_stat_scores(decisions, targets, len(class_names), average=None, validate_args=False)
    right, wrong, _, missed, size = counts.float().unbind(-1)  # (K,): true and false positives, …, false negatives
    of_classes = {
        "precision": right / (right + wrong).clamp(min=1),
        "recall": right / size,
        "f1": 2 * right / (2 * right + wrong + missed),
    }
    present = size > 0
    scores = {
        "accuracy": right.sum() / size.sum(),
        "balanced_accuracy": of_classes["recall"][present].mean(),
        "macro_f1": of_classes["f1"][present].mean(),
    }
    named = [(k, class_names[k]) for k in present.nonzero()[:, 0].tolist()]
    return scores | {f"{score}/{name}": values[k] for score, values in of_classes.items() for k, name in named}


def probability_scores(probabilities: Tensor, targets: Tensor, positive: int | None) -> dict[str, Tensor]:
    """Compute the scores of probabilities (N, K)."""
    present = targets.unique().tolist()
    pairs = [(probabilities[:, k].clamp(max=1), (targets == k).long()) for k in present if positive in (None, k)]
    scores: dict[str, Tensor] = {}
    if pairs and len(present) > 1:
        scores["auroc"] = torch.stack([binary_auroc(*each) for each in pairs]).mean()
    if pairs:
        scores["average_precision"] = torch.stack([binary_average_precision(*each) for each in pairs]).mean()
    return scores | {"calibration_error": calibration_error(probabilities, targets, positive)}


def calibration_error(probabilities: Tensor, targets: Tensor, positive: int | None) -> Tensor:
    """Compute the expected calibration error, in 15 bins, of the `positive` class or, if None, the predicted class.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """
    if positive is None:
        return multiclass_calibration_error(probabilities, targets, probabilities.shape[1])
    return binary_calibration_error(probabilities[:, positive].clamp(max=1), (targets == positive).long())
