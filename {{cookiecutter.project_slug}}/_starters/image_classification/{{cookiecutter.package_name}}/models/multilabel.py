"""Several labels an image: weights of the positives in the loss, the decision for each class, and scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MultilabelExactMatch, MultilabelF1Score
from torchmetrics.utilities import dim_zero_cat

from ..engine import RefusedError, refusal
from .classes import ClassStatistics, best_threshold, calibration_error, ranking_scores


def positive_weights_of(choice: Any, class_names: list[str], statistics: ClassStatistics) -> Tensor | None:
    """Return the weight of the positives of each class (K,) in the loss, where that of negatives is 1; None for none.

    `choice` is None, a list of weights, or "balanced": the negatives per positive among the training images.
    """
    if choice is None:
        return None
    key, counts = "model.class_weights", torch.tensor(statistics["class_counts"], dtype=torch.float64)
    if len(counts) != len(class_names):
        raise refusal(key, choice, f"the data has {len(counts)} counts of images and {len(class_names)} classes")
    if choice != "balanced":
        if len(choice) != len(class_names):
            raise refusal(key, choice, f"holds {len(choice)} numbers; expected {len(class_names)}, one for each class")
        return torch.tensor(choice)
    size = statistics.get("samples", 0)
    for count, name in zip(counts.tolist(), class_names, strict=True):
        if not 0 < count < size:
            images = "all" if count else "no"
            raise refusal(key, choice, f"{images} training images have the label {name!r}; expected some")
    return ((size - counts) / counts).float()


def binary_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Compute the mean over batch and classes of logits (B, K), where `weights` (K,) are those of the positives."""
    of_positives = None if weights is None else weights.to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), pos_weight=of_positives)


class LabelDecision:
    """Decides for the classes whose probability is at least their threshold, which is 0.5 or `choice`.

    If `choice` is a score, "f1" or "balanced_accuracy", the threshold of each class is the one with its best score at
    each validation. See Decision, which decides for one class.
    """

    positive = None  # no class is the one to score

    def __init__(self, choice: str | float | None, num_classes: int) -> None:
        self.choice = choice
        self.own = [choice if isinstance(choice, float) else 0.5] * num_classes
        self.others: list[LabelDecision] = []

    @property
    def thresholds(self) -> list[float]:
        """The thresholds (K) in use: of an ensemble the means."""
        return torch.tensor([self.own, *(each.own for each in self.others)], dtype=torch.float64).mean(0).tolist()

    def plain(self) -> dict[str, Any]:
        """Return the arguments of `decide_labels`, as plain values."""
        return {"thresholds": self.thresholds}

    def __call__(self, probabilities: Tensor) -> Tensor:
        return decide_labels(probabilities, self.thresholds)

    def choose(self, probabilities: Tensor, targets: Tensor) -> None:
        """Choose the thresholds for probabilities and targets (N, K); a class of all images or none keeps its own."""
        if isinstance(self.choice, str):
            self.own = [
                best_threshold(each, true, self.choice) if true.any() and not true.all() else own
                for own, each, true in zip(self.own, probabilities.T, targets.bool().T, strict=True)
            ]

    def save(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["decision_threshold"] = self.own

    def load(self, checkpoint: Mapping[str, Any]) -> None:
        """Restore what `save` saved. Raises RefusedError if it is no list of thresholds."""
        values, size = checkpoint.get("decision_threshold", self.own), len(self.own)
        if not isinstance(values, list) or len(values) != size or not all(map(_is_threshold, values)):
            why = f"expected {size} numbers from 0 to 1"
            raise RefusedError(f"decision_threshold of the checkpoint is {values!r:.60}; {why}")
        if isinstance(self.choice, str):  # a number is that of the config
            self.own = values


def _is_threshold(value: Any) -> bool:
    return isinstance(value, float) and 0 <= value <= 1


def decide_labels(probabilities: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Return a mask (N, K) of the classes decided for, from probabilities (N, K) and thresholds (K)."""
    return probabilities >= torch.tensor(thresholds, dtype=probabilities.dtype, device=probabilities.device)


def joined(labels: Tensor, class_names: Sequence[str], separator: str) -> list[str]:
    """Join the names of the classes of each row of a mask (N, K)."""
    chosen = (row.nonzero()[:, 0].tolist() for row in labels)
    return [separator.join(class_names[k] for k in numbers) for numbers in chosen]


def quick_label_scores(num_classes: int) -> MetricCollection:
    """Return `exact_match` and `macro_f1` of what `probabilities_and_labels` returns, which keep no predictions."""
    return MetricCollection(
        {
            "exact_match": MultilabelExactMatch(num_classes, validate_args=False),
            "macro_f1": MultilabelF1Score(num_classes, average="macro", validate_args=False),
        }
    )


def probabilities_and_labels(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Prepare logits and a mask (N, K) for torchmetrics, which takes logits in [0, 1] for probabilities."""
    return logits.float().sigmoid(), targets.long()


class LabelScores(Metric):
    """Scores of a whole split, from logits (B, K) and a mask of the labels (B, K).

    `exact_match` (images all of whose labels are right), `micro_f1` (of all labels together), `macro_f1` and, of each
    class, `precision/<class>`, `recall/<class>` and `f1/<class>` rate decisions. `auroc` and `average_precision` (means
    over the classes; the latter is also called mAP) rate the order of probabilities, and `calibration_error` (of all
    labels together) their values.

    A class without a positive sample has no scores, and does not count in means; nor does one without a negative in
    `auroc`. If thresholds are chosen, they are scores too; with `choose`, they are first chosen for these samples.
    """

    full_state_update = False
    probabilities: list[Tensor]
    targets: list[Tensor]

    def __init__(self, class_names: Sequence[str], decision: LabelDecision, choose: bool = False) -> None:
        super().__init__()
        self.class_names, self.decision, self.choose = class_names, decision, choose
        self.add_state("probabilities", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        self.probabilities.append(logits.float().sigmoid())
        self.targets.append(targets.to(torch.uint8))  # not all backends of several processes take bool

    def compute(self) -> dict[str, Tensor]:
        if not self.update_called:
            return {}
        probabilities, targets = dim_zero_cat(self.probabilities), dim_zero_cat(self.targets).bool()
        finite = bool(probabilities.isfinite().all())
        if self.choose and finite:
            self.decision.choose(probabilities, targets)
        scores = label_decision_scores(self.decision(probabilities), targets, self.class_names)
        if finite:
            scores |= label_probability_scores(probabilities, targets)
        if self.decision.choice is not None:
            thresholds = torch.tensor(self.decision.thresholds, device=targets.device)
            scores |= {f"threshold/{name}": thresholds[k] for k, name in enumerate(self.class_names)}
        return scores


def label_decision_scores(decisions: Tensor, targets: Tensor, class_names: Sequence[str]) -> dict[str, Tensor]:
    """Compute the scores of decisions, a mask (N, K)."""
    right, decided, true = (each.sum(0).float() for each in (decisions & targets, decisions, targets))
    of_classes = {
        "precision": right / decided.clamp(min=1),
        "recall": right / true.clamp(min=1),
        "f1": 2 * right / (decided + true).clamp(min=1),
    }
    present = (true > 0).nonzero()[:, 0].tolist()
    scores = {
        "exact_match": (decisions == targets).all(1).float().mean(),
        "micro_f1": 2 * right.sum() / (decided + true).sum().clamp(min=1),
        "macro_f1": of_classes["f1"][present].mean() if present else right.sum(),
    }
    named = [(k, class_names[k]) for k in present]
    return scores | {f"{score}/{name}": values[k] for score, values in of_classes.items() for k, name in named}


def label_probability_scores(probabilities: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Compute the scores of probabilities (N, K)."""
    present = targets.any(0)
    ranked = torch.stack([ranking_scores(*pair) for pair in zip(probabilities.T, targets.T, strict=True)])
    both = present & ~targets.all(0)
    scores = {"calibration_error": calibration_error(*pooled(probabilities, targets), positive=1)}
    if present.any():
        scores["average_precision"] = ranked[present, 1].mean()
    if both.any():
        scores["auroc"] = ranked[both, 0].mean()
    return scores


def pooled(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Join the labels of all classes: probabilities (N·K, 2) of no and yes, and which of them is true (N·K,)."""
    flat = probabilities.flatten()
    return torch.stack([1 - flat, flat], 1), targets.flatten().long()
