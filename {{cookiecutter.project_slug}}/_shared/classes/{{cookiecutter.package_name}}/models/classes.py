"""Weights of classes in the loss, for data in which some classes are rare."""

from typing import Annotated, Any, Literal, TypedDict

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor

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
