"""Weights of classes in the loss and scores of a split equal scikit-learn's, on real data with rare classes."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from torch import Tensor

from {{ cookiecutter.package_name }}.callbacks.class_report import Predicted, gathered, save_class_plots
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.models.classes import (
    ClassScores,
    Decision,
    best_threshold,
    positive_class_of,
    ranking_scores,
    weighted_cross_entropy,
    weights_of,
)

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


def predicted(data: Any, columns: int, rows: slice = slice(1, None, 2)) -> tuple[Tensor, Tensor]:
    """Return logits (N, K) of a model of a few columns, and the classes (N,), of the rows it was not fitted on."""
    values, targets = data.data[:, :columns] / data.data[:, :columns].std(0), data.target
    model = LogisticRegression(max_iter=1000).fit(values[::2], targets[::2])
    logits = torch.from_numpy(model.predict_log_proba(values[rows])).float()
    return logits, torch.from_numpy(targets[rows]).long()


def scores_of(logits: Tensor, targets: Tensor, names: list[str], positive: int | None = None) -> dict[str, float]:
    metric = ClassScores(names, Decision(None, positive, len(names)))
    for some, true in zip(logits.split(16), targets.split(16), strict=True):
        metric.update(some, true)
    return {name: value.item() for name, value in metric.compute().items()}


def check_decisions(scores: dict[str, float], decisions: Tensor, targets: Tensor, names: list[str]) -> None:
    labels = targets.unique().tolist()
    each = reference.precision_recall_fscore_support(targets, decisions, labels=labels, zero_division=0)
    for name, values in zip(("precision", "recall", "f1"), each, strict=False):
        assert [scores.get(f"{name}/{names[k]}") for k in labels] == pytest.approx(values.tolist())
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(targets, decisions))
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(each[1]))
    assert scores["macro_f1"] == pytest.approx(np.mean(each[2]))


def error_of_bins(true: Any, probability: Tensor) -> float:
    """Expected calibration error from the bins of scikit-learn, which leaves out empty ones."""
    fraction, mean = calibration_curve(true, probability.numpy(), n_bins=15)
    sizes = np.histogram(probability, bins=np.linspace(0, 1, 16))[0]
    return float(np.sum(abs(fraction - mean) * sizes[sizes > 0]) / len(true))


def test_scores_of_three_classes_are_scikit_learns() -> None:
    logits, targets = predicted(WINE, columns=2)
    scores = scores_of(logits, targets, NAMES)
    probabilities = logits.double().softmax(1)
    check_decisions(scores, logits.argmax(1), targets, NAMES)
    assert 0.6 < scores["accuracy"] < 0.9
    assert scores["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(targets, logits.argmax(1)))
    one_against_rest = reference.roc_auc_score(targets, probabilities, multi_class="ovr")
    assert scores["auroc"] == pytest.approx(one_against_rest, abs=1e-6)
    precision = reference.average_precision_score(np.eye(3)[targets], probabilities)
    assert scores["average_precision"] == pytest.approx(precision, abs=1e-6)
    confidence, decisions = probabilities.max(1)
    assert scores["calibration_error"] == pytest.approx(error_of_bins(decisions == targets, confidence), abs=1e-6)


@pytest.mark.parametrize("positive", [0, 1])
def test_scores_of_two_classes_are_those_of_the_positive_one(positive: int) -> None:
    logits, targets = predicted(load_breast_cancer(), columns=2)
    scores = scores_of(logits, targets, ["malignant", "benign"], positive)
    probability = logits.double().softmax(1)[:, positive]
    check_decisions(scores, logits.argmax(1), targets, ["malignant", "benign"])
    assert scores["auroc"] == pytest.approx(reference.roc_auc_score(targets == positive, probability), abs=1e-6)
    precision = reference.average_precision_score(targets == positive, probability)
    assert scores["average_precision"] == pytest.approx(precision, abs=1e-6)
    assert scores["calibration_error"] == pytest.approx(error_of_bins(targets == positive, probability), abs=1e-6)


@pytest.mark.parametrize("digits", [7, 2, 1, 0])
def test_equal_probabilities_are_ranked_as_in_scikit_learn(digits: int) -> None:
    """Such as those of a model that predicts few values."""
    logits, targets = predicted(load_breast_cancer(), columns=1)
    probability, true = logits.softmax(1)[:, 0].round(decimals=digits), targets == 0
    expected = [score(true, probability) for score in (reference.roc_auc_score, reference.average_precision_score)]
    assert ranking_scores(probability, true).tolist() == pytest.approx(expected, abs=1e-6)


def test_a_class_that_a_split_lacks_has_no_scores_and_is_in_no_mean() -> None:
    logits, targets = predicted(WINE, columns=2)
    logits, targets = logits[targets != 1], targets[targets != 1]
    assert (logits.argmax(1) == 1).any()  # it is predicted
    scores = scores_of(logits, targets, NAMES)
    check_decisions(scores, logits.argmax(1), targets, NAMES)
    assert not [name for name in scores if name.endswith("/b")]
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert scores["balanced_accuracy"] == pytest.approx(
            reference.balanced_accuracy_score(targets, logits.argmax(1))
        )
    probabilities, present = logits.double().softmax(1), (0, 2)
    areas = [reference.roc_auc_score(targets == k, probabilities[:, k]) for k in present]
    assert scores["auroc"] == pytest.approx(np.mean(areas), abs=1e-6)
    areas = [reference.average_precision_score(targets == k, probabilities[:, k]) for k in present]
    assert scores["average_precision"] == pytest.approx(np.mean(areas), abs=1e-6)


@pytest.mark.parametrize("positive", [None, 0, 1])
def test_what_one_class_alone_does_not_define_is_left_out(positive: int | None) -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    scores = scores_of(logits, torch.zeros(3, dtype=torch.int64), ["a", "b"], positive)
    assert "auroc" not in scores
    assert ("average_precision" in scores) == (positive != 1)
    assert scores["recall/a"] == scores["balanced_accuracy"] == pytest.approx(2 / 3)
    assert "recall/b" not in scores


def test_a_class_that_is_never_predicted_has_a_precision_of_zero() -> None:
    scores = scores_of(torch.tensor([[1.0, 0.0]] * 3), torch.tensor([0, 0, 1]), ["a", "b"], 1)
    assert (scores["precision/b"], scores["recall/b"], scores["f1/b"]) == (0, 0, 0)
    assert scores["auroc"] == 0.5


def test_probabilities_that_are_not_finite_are_not_scored() -> None:
    scores = scores_of(torch.tensor([[1.0, 0.0], [math.nan, 0.0]]), torch.tensor([0, 1]), ["a", "b"], 1)
    assert "accuracy" in scores
    assert not {"auroc", "average_precision", "calibration_error"} & scores.keys()


def test_the_positive_class_is_the_one_named_or_the_clearly_rarer_or_the_second() -> None:
    assert positive_class_of(None, ["late", "on time"], [65, 100]) == 0
    assert positive_class_of(None, ["late", "on time"], [67, 100]) == 1
    assert positive_class_of(None, ["0", "1"], [900, 80]) == 1
    assert positive_class_of("late", ["late", "on time"], [100, 5]) == 0
    assert positive_class_of(1, ["0", "1"], [5, 100]) == 1
    assert positive_class_of(None, NAMES, COUNTS) is None
    with pytest.raises(RefusedError, match=r"model.positive_class=lat: is not a class; expected late or on time; did"):
        positive_class_of("lat", ["late", "on time"], [5, 5])
    with pytest.raises(RefusedError, match=r"=a: is for two classes; the data has 3: expected null"):
        positive_class_of("a", NAMES, COUNTS)


@pytest.mark.parametrize("missing", [-1, 1])
def test_each_class_of_the_split_has_a_curve(missing: int, tmp_path: Path) -> None:
    logits, targets = predicted(WINE, columns=2)
    kept = torch.tensor([target != missing for target in targets])
    figures: list[Any] = []
    trainer = FakeTrainer(tmp_path)
    tested = Predicted(logits[kept].softmax(1), targets[kept], logits[kept].argmax(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
        save_class_plots(trainer, None, tested, ["$a", "_b", "c"], "wines")
    roc, recall, reliability = figures
    present = [k for k in range(3) if k != missing]
    for figure, area in ((roc, reference.roc_auc_score), (recall, reference.average_precision_score)):
        areas = [area(tested.targets == k, tested.probabilities[:, k]) for k in present]
        named = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        names = [(r"\$a", " _b", "c")[k] for k in present]
        assert named[: len(present)] == [f"{name} ({area:.4f})" for name, area in zip(names, areas, strict=True)]
        assert f"{len(tested.targets)} test wines, mean" in figure.axes[0].get_title()
    error = error_of_bins(tested.probabilities.argmax(1) == tested.targets, tested.probabilities.max(1).values)
    assert f"calibration error {error:.4f}" in reliability.get_suptitle()


def test_a_split_of_one_class_has_no_curves(tmp_path: Path) -> None:
    tested = Predicted(torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.zeros(2).long(), torch.zeros(2).long())
    model = SimpleNamespace(decision=Decision(None, 0, 2))
    save_class_plots(FakeTrainer(tmp_path), model, tested, ["a", "b"], "wines")
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["reliability.png"]


class FakeTrainer:
    """What save_plot asks of a Trainer."""

    is_global_zero, world_size = True, 1

    loggers: tuple[Any, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.default_root_dir, self.state = str(folder), SimpleNamespace(stage=None)


def test_samples_of_several_processes_are_in_the_order_of_the_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process has every third sample."""
    probabilities, targets = torch.rand(8, 2), torch.arange(8)
    parts = [(probabilities[rank::3], targets[rank::3]) for rank in range(3)]
    trainer = FakeTrainer(Path())
    trainer.world_size = 3
    monkeypatch.setattr(torch.distributed, "all_gather_object", lambda found, own: found.__setitem__(slice(3), parts))
    whole = gathered(trainer, [parts[0][0][:2], parts[0][0][2:]], [parts[0][1]])
    assert whole is not None
    assert torch.equal(whole[0], probabilities)
    assert torch.equal(whole[1], targets)


@pytest.mark.parametrize("score", ["f1", "balanced_accuracy"])
@pytest.mark.parametrize("positive", [0, 1])
def test_the_threshold_is_the_best_of_all(score: str, positive: int) -> None:
    logits, targets = predicted(load_breast_cancer(), columns=1)
    probability = logits.softmax(1)[:, positive]
    measure = {"f1": reference.f1_score, "balanced_accuracy": reference.balanced_accuracy_score}[score]
    values = [measure(targets == positive, probability >= each) for each in probability]
    chosen = best_threshold(probability, targets == positive, score)
    assert measure(targets == positive, probability >= chosen) == pytest.approx(max(values))
    assert max(values) > measure(targets == positive, probability >= 0.5)
    assert (probability - chosen).abs().min() > 0  # between two of them


@pytest.mark.parametrize("probability", [[0.5, 0.5], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5 + 2**-24], [0.0, 0.0]])
def test_a_threshold_separates_no_equal_probabilities(probability: list[float]) -> None:
    """Also where no number lies between two of them, and where the order is wrong."""
    values = torch.tensor(probability)
    chosen = best_threshold(values, torch.tensor([False, True]), "balanced_accuracy")
    assert 0 <= chosen <= 1
    assert (values >= chosen).tolist() in ([False, True] if values[0] < values[1] else [False] * 2, [True] * 2)


def test_a_decision_is_chosen_where_both_classes_are_and_is_a_score() -> None:
    logits, targets = predicted(load_breast_cancer(), columns=1)
    decision = Decision("f1", 0, 2)
    metric = ClassScores(["malignant", "benign"], decision, choose=True)
    metric.update(logits[targets == 1], targets[targets == 1])
    assert metric.compute()["threshold"] == 0.5
    metric.reset()
    metric.update(logits, targets)
    scores = {name: value.item() for name, value in metric.compute().items()}
    assert scores["threshold"] == pytest.approx(decision.own) != 0.5
    decided = torch.where(logits.softmax(1)[:, 0] >= decision.own, 0, 1)
    check_decisions(scores, decided, targets, ["malignant", "benign"])
    test = ClassScores(["malignant", "benign"], decision)
    test.update(logits[::2], targets[::2])
    assert test.compute()["threshold"].item() == scores["threshold"]


def test_a_threshold_that_is_chosen_comes_from_the_checkpoint_a_number_from_the_config() -> None:
    for choice, threshold in (("f1", 0.7), (0.3, 0.3)):
        decision = Decision(choice, 1, 2)
        decision.load({"decision_threshold": 0.7})
        assert decision.threshold == threshold
    decision.others = [Decision(0.9, 0, 2)]  # of the other class, so 0.1 of this one
    assert decision.threshold == pytest.approx(0.2)
