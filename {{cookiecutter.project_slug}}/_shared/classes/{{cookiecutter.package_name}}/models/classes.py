"""Classes: their weights in the loss, the decision for one of them, and scores of probabilities and decisions."""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.functional.classification import (
    binary_calibration_error,
    binary_roc,
    multiclass_calibration_error,
    multiclass_stat_scores,
)
from torchmetrics.utilities import dim_zero_cat

from ..engine import Above0Below1, RefusedError, refusal

ClassWeights = Literal["balanced"] | list[Annotated[float, Gt(0)]] | None
Threshold = Literal["f1", "balanced_accuracy"] | Above0Below1 | None


class ClassStatistics(TypedDict):
    """Statistics of the training samples."""

    class_counts: list[Annotated[int, Ge(0)]]  # samples of each class
    samples: NotRequired[Annotated[int, Ge(0)]]  # all, if one may have several classes or none


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


def weighted_cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor | None, sample_weights: Tensor | None = None
) -> Tensor:
    """Compute the mean over the batch of the cross-entropy of logits (B, K), times the weight of the true class.

    `weights` are those of the classes (K,), `sample_weights` (B,) those of the samples. The sum is divided by the
    number of samples, not by the sum of their weights as torch does: the latter undoes the weights in a batch of one
    class, and the mean over batches would not be that over the epoch.
    """
    if weights is None and sample_weights is None:
        return F.cross_entropy(logits, targets)
    of_classes = None if weights is None else weights.to(logits.dtype)
    losses = F.cross_entropy(logits, targets, weight=of_classes, reduction="none")
    return (losses if sample_weights is None else sample_weights * losses).mean()


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


def logged_of_classes(
    declared: Mapping[str, str | None], class_names: Sequence[str], without: Collection[str] = ()
) -> dict[str, str | None]:
    """Return the metrics that a model declares, with those of each class in place of `*`, less those in `without`."""
    single = {name: mode for name, mode in declared.items() if "*" not in name and name.split("/")[1] not in without}
    return single | {f"val/{score}/{name}": "max" for score in ("precision", "recall", "f1") for name in class_names}


def quick_scores(num_classes: int) -> MetricCollection:
    """Return `accuracy` and `macro_f1` of logits (B, K) and targets (B,), which keep no predictions."""
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro", validate_args=False),
            "macro_f1": MulticlassF1Score(num_classes, average="macro", validate_args=False),
        }
    )


class Decision:
    """Decides for the most probable class or, of two, for the positive one from a threshold of its probability.

    `choice` is the threshold, or the score by which it is chosen at each validation, so that a checkpoint has that of
    its epoch. An ensemble of folds decides by the mean of their thresholds: `others` are the decisions of the others.
    """

    def __init__(self, choice: str | float | None, positive: int | None, num_classes: int) -> None:
        if choice is not None and positive is None:
            raise refusal("model.threshold", choice, f"is for two classes; the data has {num_classes}: expected null")
        self.choice, self.positive = choice, positive
        self.own = choice if isinstance(choice, float) else 0.5
        self.others: list[Decision] = []

    @property
    def threshold(self) -> float | None:
        """The threshold in use; None if the most probable class is decided for."""
        if self.choice is None:
            return None
        others = [each.own if each.positive == self.positive else 1 - each.own for each in self.others]
        return sum([self.own, *others]) / (1 + len(self.others))

    def plain(self) -> dict[str, Any]:
        """Return the arguments of `decide`, as plain values."""
        return {"positive": self.positive, "threshold": self.threshold}

    def __call__(self, probabilities: Tensor) -> Tensor:
        return decide(probabilities, **self.plain())

    def choose(self, probabilities: Tensor, targets: Tensor) -> None:
        """Choose the threshold for probabilities (N, 2) and targets (N,), if these are samples of both classes."""
        if isinstance(self.choice, str) and self.positive is not None and len(targets.unique()) == 2:
            self.own = best_threshold(probabilities[:, self.positive], targets.eq(self.positive), self.choice)

    def save(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["decision_threshold"] = self.own

    def load(self, checkpoint: Mapping[str, Any]) -> None:
        """Restore what `save` saved. Raises RefusedError if it is not a threshold."""
        value = checkpoint.get("decision_threshold", self.own)
        if not isinstance(value, float) or not 0 <= value <= 1:
            raise RefusedError(f"decision_threshold of the checkpoint is {value!r}; expected a number from 0 to 1")
        if isinstance(self.choice, str):  # a number is that of the config
            self.own = value


def decide(probabilities: Tensor, positive: int | None = None, threshold: float | None = None) -> Tensor:
    """Return the classes (N,) decided for, from probabilities (N, K)."""
    if positive is None or threshold is None:
        return probabilities.argmax(-1)
    return torch.where(probabilities[:, positive] >= threshold, positive, 1 - positive)


def best_threshold(probability: Tensor, true: Tensor, score: str) -> float:
    """Return the threshold with the highest "f1" or "balanced_accuracy" for probabilities (N,) of what is `true` (N,).

    It lies halfway between two probabilities, so that it depends less on the single sample.
    """
    false_rate, true_rate, thresholds = binary_roc(probability.clamp(max=1), true.long())
    positives, negatives = true.sum(), (~true).sum()
    f1 = 2 * true_rate * positives / (true_rate * positives + false_rate * negatives + positives)
    scores = f1 if score == "f1" else (true_rate + 1 - false_rate) / 2
    best = 1 + int(scores[1:].argmax())  # the first threshold is above all
    upper, lower = torch.cat([thresholds, thresholds.new_zeros(1)])[best : best + 2]
    middle = (upper + lower) / 2
    return float(middle if middle > lower else upper)


class ClassScores(Metric):
    """Scores of a whole split, from logits (B, K) and classes (B,).

    `accuracy`, `balanced_accuracy` (mean recall), `macro_f1` and, of each class, `precision/<class>`, `recall/<class>`
    and `f1/<class>` rate decisions. `auroc` (mean of each class against the rest) and `average_precision` (mean over
    the classes or, of two, that of the `positive` one) rate the order of probabilities, and `calibration_error` their
    values.

    A class without a sample has no scores, and does not count in means. The precision of one that is never predicted
    is 0. What is not defined, such as the AUROC of samples of a single class, is left out. If the `decision` has a
    threshold, it is a score too; with `choose`, it is first chosen for these samples.
    """

    full_state_update = False
    probabilities: list[Tensor]
    targets: list[Tensor]

    def __init__(self, class_names: Sequence[str], decision: Decision, choose: bool = False) -> None:
        super().__init__()
        self.class_names, self.decision, self.choose = class_names, decision, choose
        self.add_state("probabilities", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        self.probabilities.append(logits.float().softmax(-1))
        self.targets.append(targets)

    def compute(self) -> dict[str, Tensor]:
        if not self.update_called:
            return {}
        probabilities, targets = dim_zero_cat(self.probabilities), dim_zero_cat(self.targets)
        finite = bool(probabilities.isfinite().all())
        if self.choose and finite:
            self.decision.choose(probabilities, targets)
        scores = decision_scores(self.decision(probabilities), targets, self.class_names)
        if finite:
            scores |= probability_scores(probabilities, targets, self.decision.positive)
        if self.decision.threshold is not None:
            scores["threshold"] = torch.tensor(self.decision.threshold, device=targets.device)
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
    shown = [k for k in present if positive in (None, k)]
    ranked = torch.stack([ranking_scores(probabilities[:, k], targets == k) for k in shown]) if shown else None
    scores: dict[str, Tensor] = {}
    if ranked is not None:
        scores = dict(zip(("auroc", "average_precision"), ranked.mean(0), strict=True))
    if len(present) < 2:
        scores.pop("auroc", None)
    return scores | {"calibration_error": calibration_error(probabilities, targets, positive)}


def ranking_scores(probability: Tensor, true: Tensor) -> Tensor:
    """Compute AUROC and average precision (2,) of probabilities (N,) of what is `true` (N,).

    Both are means over the positives: of the fraction of negatives below each, where equal ones count half, and of the
    precision of all from its probability on. Only positives are sorted, as each class of many has few.
    """
    positives = probability[true].sort().values
    size, count = len(probability), len(positives)
    own_lower, own_upper = (torch.searchsorted(positives, positives, right=right) for right in (False, True))
    places = (torch.searchsorted(positives, probability.contiguous(), right=right) for right in (True, False))
    lower, upper = (torch.bincount(each, minlength=count + 1).cumsum(0)[:-1] for each in places)
    negatives_below = (lower + upper - own_lower - own_upper) / (2 * (size - count))
    precision = (count - own_lower) / (size - lower)
    return torch.stack([negatives_below.mean(), precision.mean()])


def calibration_error(probabilities: Tensor, targets: Tensor, positive: int | None) -> Tensor:
    """Compute the expected calibration error, in 15 bins, of the `positive` class or, if None, the predicted class.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017.
    """
    if positive is None:
        return multiclass_calibration_error(probabilities, targets, probabilities.shape[1])
    return binary_calibration_error(probabilities[:, positive].clamp(max=1), (targets == positive).long())
