"""Weights of classes in the loss equal scikit-learn's, on data with rare classes."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.models.classes import weighted_cross_entropy, weights_of

WINE: Any = load_wine()
TARGETS = np.asarray(WINE.target)[20:]  # 39, 71 and 48 wines of three growers
COUNTS = np.bincount(TARGETS).tolist()
NAMES = ["a", "b", "c"]
LOGITS = torch.randn(len(TARGETS), 3, generator=torch.Generator().manual_seed(0))


def test_balanced_weights_are_scikit_learns() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=TARGETS)
    weights = weights_of("balanced", NAMES, COUNTS)
    assert weights is not None
    assert weights.tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("choice", [[1, 2.5, 10], [100, 250, 1000], [1e300, 2.5e300, 1e301], "balanced"])
def test_the_loss_of_an_epoch_is_that_of_weighted_samples(choice: Any) -> None:
    """The mean over batches is that over the epoch, and only ratios of weights count."""
    weights = weights_of(choice, NAMES, COUNTS)
    targets = torch.from_numpy(TARGETS)
    batches = zip(LOGITS.split(16), targets.split(16), strict=True)
    mean = sum(weighted_cross_entropy(*batch, weights).item() * len(batch[1]) for batch in batches) / len(targets)
    relative = "balanced" if choice == "balanced" else dict(enumerate([1, 2.5, 10]))
    sample_weight = compute_sample_weight(relative, TARGETS)  # scikit-learn divides by their sum: their mean is 1 here
    expected = log_loss(targets, LOGITS.double().softmax(1), sample_weight=sample_weight)
    assert mean == pytest.approx(expected, rel=1e-5)


def test_equal_weights_are_none() -> None:
    targets = torch.from_numpy(TARGETS)
    losses = [weighted_cross_entropy(LOGITS, targets, weights_of(choice, NAMES, COUNTS)) for choice in (None, [2] * 3)]
    assert losses[0].item() == pytest.approx(losses[1].item())


def test_a_batch_of_one_class_is_weighted() -> None:
    """Torch's own mean would divide by the weights, which undoes them."""
    rare = torch.zeros(4, dtype=torch.int64)
    loss = weighted_cross_entropy(torch.zeros(4, 3), rare, weights_of("balanced", NAMES, COUNTS))
    assert loss.item() == pytest.approx(math.log(3) * sum(COUNTS) / (3 * COUNTS[0]))


@pytest.mark.parametrize(
    ("choice", "counts", "why"),
    [
        ([1, 2], COUNTS, r"class_weights=\[1, 2\]: holds 2 numbers; expected 3, one for each of a, b, c"),
        ([1, 2, 3, 4], COUNTS, "holds 4 numbers; expected 3"),
        ("balanced", [5, 0, 5], "class_weights=balanced: class 'b' has no training samples"),
        ("balanced", [5, 5], "2 counts of samples; expected one for each of a, b, c"),
    ],
)
def test_weights_that_fit_no_class_are_refused(choice: Any, counts: list[int], why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        weights_of(choice, NAMES, counts)
