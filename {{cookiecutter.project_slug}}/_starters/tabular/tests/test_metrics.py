"""Metrics of an epoch equal scikit-learn's for the same predictions."""

import pytest
import torch
from sklearn import metrics as reference
from torch import Tensor

from {{ cookiecutter.package_name }}.models.classes import Decision
from {{ cookiecutter.package_name }}.models.epoch_metrics import EpochMetrics
from {{ cookiecutter.package_name }}.models.features import two_floats
from {{ cookiecutter.package_name }}.models.targets import ClassTarget, NumberTarget

GENERATOR = torch.Generator().manual_seed(0)
TRUE = 1e9 + 30 * torch.randn(100, generator=GENERATOR).double()  # far from zero, where float32 has steps of 64
CLASSES = torch.randint(0, 5, (100,), generator=GENERATOR)
LOGITS = torch.randn(100, 5, generator=GENERATOR) + 1.5 * torch.eye(5)[CLASSES]


Target = NumberTarget | ClassTarget


def epoch(target: Target, metrics: EpochMetrics, predictions: Tensor, targets: Tensor) -> dict[str, float]:
    for some, true in zip(predictions.split(16), targets.split(16), strict=True):
        given = two_floats(true) if true.is_floating_point() else true
        metrics.update(target.loss(some, given), some, given)
    return {name: value.item() for name, value in target.in_units(metrics.compute()).items()}


@pytest.mark.parametrize("every", [1, 3, 50])
def test_scores_of_numbers_are_scikit_learns(every: int) -> None:
    predicted = TRUE + 10 * torch.randn(100, generator=GENERATOR)
    target = NumberTarget(1e9 + 0.3, 30.0)
    metrics = EpochMetrics(target.scores("val"), target.normalized, every)
    for part in (slice(None), slice(90)):  # the second checks the reset
        scores = epoch(target, metrics, predicted[part], TRUE[part])
        given = TRUE[part], predicted[part]
        assert scores["mae"] == pytest.approx(reference.mean_absolute_error(*given), rel=1e-4)
        assert scores["rmse"] == pytest.approx(reference.root_mean_squared_error(*given), rel=1e-4)
        assert scores["r2"] == pytest.approx(reference.r2_score(*given), rel=1e-4)
        assert scores["loss"] == pytest.approx((scores["rmse"] / 30) ** 2, rel=1e-2)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("every", [1, 3, 50])
def test_scores_of_classes_are_scikit_learns(every: int, split: str) -> None:
    target = ClassTarget([*"abcde"], Decision(None, None, 5))
    metrics = EpochMetrics(target.scores(split), target.normalized, every)
    for part in (slice(None), slice(90)):
        scores = epoch(target, metrics, LOGITS[part], CLASSES[part])
        true, predicted = CLASSES[part], LOGITS[part].argmax(1)
        assert scores["accuracy"] == pytest.approx(reference.accuracy_score(true, predicted))
        assert scores["macro_f1"] == pytest.approx(reference.f1_score(true, predicted, average="macro"))
        assert scores["loss"] == pytest.approx(reference.log_loss(true, LOGITS[part].double().softmax(1)), rel=1e-5)
