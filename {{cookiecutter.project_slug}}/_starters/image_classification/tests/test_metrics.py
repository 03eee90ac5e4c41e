"""The scores of an epoch are those that scikit-learn gives for the same predictions."""

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch.nn.functional import cross_entropy

from {{ cookiecutter.package_name }}.models.metrics import EpochMetrics


@pytest.mark.parametrize("every", [1, 3, 50])
def test_scores_of_an_epoch_are_scikit_learns(every: int) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 5, (100,), generator=generator)
    logits = torch.randn(100, 5, generator=generator) + 1.5 * torch.eye(5)[targets]
    metrics = EpochMetrics(num_classes=5, every=every)
    for epoch in range(2):  # the second starts anew
        part = slice(0, 90) if epoch else slice(None)
        for some_logits, some_targets in zip(logits[part].split(16), targets[part].split(16), strict=True):
            metrics.update(cross_entropy(some_logits, some_targets), some_logits, some_targets)
        scores = metrics.compute()
        predicted, true = logits[part].argmax(1), targets[part]
        assert scores["accuracy"].item() == pytest.approx(accuracy_score(true, predicted))
        assert scores["macro_f1"].item() == pytest.approx(f1_score(true, predicted, average="macro"))
        assert scores["f1"].tolist() == pytest.approx(f1_score(true, predicted, average=None).tolist())
        one_by_one = cross_entropy(logits[part], true, reduction="sum").item() / len(true)
        assert scores["loss"].item() == pytest.approx(one_by_one, rel=1e-5)
