"""Several labels an image: lists, splits, loss, scores, thresholds, predictions, and what is refused."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NO_LOGGER, Command
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from test_resume import check_killed
from torch.nn.functional import binary_cross_entropy_with_logits

from {{ cookiecutter.package_name }}.datamodules.image_folder import ImageFolderDataModule
from {{ cookiecutter.package_name }}.datamodules.image_splits import LabelledImages, strata_of
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.models.classifier import Classifier, mix
from {{ cookiecutter.package_name }}.models.multilabel import LabelDecision, LabelScores, quick_label_scores
from {{ cookiecutter.package_name }}.models.multilabel import probabilities_and_labels as prepare

NAMES = ["zero", "one", "two", "three"]
Rows = list[dict[str, Any]]


def write_pairs(folder: Path, count: int, seed: int) -> Rows:
    """Write images of none, one or two scans of the digits 0–3, three the rarest; return file and labels of each."""
    digits: Any = load_digits()
    rng = np.random.default_rng(seed)
    (folder / "scans").mkdir(parents=True)
    rows: Rows = []
    for number in range(count):
        pixels, shown = rng.integers(0, 30, (16, 16), np.uint8), set()
        for place in rng.permutation(4)[: rng.choice([0, 1, 2], p=[0.1, 0.4, 0.5])]:
            target = rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])
            scan = digits.images[rng.choice(np.flatnonzero(digits.target == target))]
            row, column = 8 * (place // 2), 8 * (place % 2)
            pixels[row : row + 8, column : column + 8] = (scan * 255 / 16).round()
            shown.add(NAMES[target])
        Image.fromarray(pixels).save(folder / "scans" / f"{number:03}.png")
        rows.append({"file": f"scans/{number:03}.png", "label": sorted(shown)})
    return rows


def write_list(
    path: Path, rows: Rows, separator: str | None = "|", columns: tuple[str, ...] = ("file", "label")
) -> Path:
    """Write a list; labels are joined by `separator` or, if None, one a row."""
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
        return path
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            labels = [separator.join(row["label"])] if separator else row["label"] or [""]
            writer.writerows([row["file"], label, *(row[name] for name in columns[2:])] for label in labels)
    return path


@pytest.fixture(scope="module")
def rows(command: Command) -> Rows:
    rows = write_pairs(command.folder / "pairs", 400, seed=0)
    write_list(command.folder / "pairs" / "labels.csv", rows)
    return rows


PAIRS = (
    "datamodule=image_folder", "datamodule.root=pairs/labels.csv", "datamodule.multilabel=true", "datamodule.size=16",
    "datamodule.channels=1", "datamodule.rotate=0", "trainer.accelerator=cpu", *NO_LOGGER,
)  # fmt: skip


def read(root: Path, **options: Any) -> Any:
    arguments: dict[str, Any] = {"size": 16, "channels": 1, "multilabel": True, **options}
    data: Any = ImageFolderDataModule(root=root, **arguments)
    data.setup("fit")
    return data


def labels_of(data: Any) -> dict[str, list[str]]:
    return {
        data.ids[split][number]: [data.class_names[k] for k in row.nonzero()[:, 0].tolist()]
        for split, (_, targets) in data.splits.items()
        for number, row in enumerate(targets)
    }


@pytest.mark.parametrize(
    ("name", "separator", "options"),
    [("a.csv", "|", {}), ("b.json", None, {}), ("c.csv", None, {}), ("d.csv", " ", {"separator": " "})],
)
def test_a_list_gives_each_image_any_number_of_labels(
    name: str, separator: str | None, options: dict[str, Any], command: Command, rows: Rows
) -> None:
    data = read(write_list(command.folder / "pairs" / name, rows, separator), **options)
    assert labels_of(data) == {row["file"]: sorted(row["label"]) for row in rows}
    assert data.class_names == sorted(NAMES)
    targets = data.splits["train"][1]
    assert data.facts["statistics"] == {"class_counts": targets.sum(0).tolist(), "samples": len(targets)}
    assert data.facts["multilabel"] is True


def test_splits_are_stratified_by_the_rarest_label(command: Command, rows: Rows) -> None:
    for options in ({}, {"folds": 4, "fold": 2}):
        data = read(command.folder / "pairs" / "labels.csv", **options)
        rarest = {}
        for split, (_, targets) in data.splits.items():
            strata = [next((k for k in (2, 3, 1, 0) if row[data.class_names.index(NAMES[k])]), 4) for row in targets]
            rarest[split] = np.bincount(strata, minlength=5) / len(strata)
        assert np.allclose(rarest["val"], rarest["train"], atol=0.05), rarest
    few = torch.zeros(100, 3, dtype=torch.bool)
    few[:90, 0], few[80:, 1], few[:2, 2] = True, True, True
    strata = strata_of(LabelledImages(few, few, [*"abc"], range(100)), range(100), 0.25, 0.25, None)
    assert strata.bincount().tolist() == [20, 78 + 2]  # the two of a rare label join the most common stratum


def test_scores_are_those_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(200, 4, generator=generator) < torch.tensor([0.5, 0.3, 0.2, 0.05])
    logits = torch.randn(200, 4, generator=generator) + 1.5 * targets - 1
    metric, quick = LabelScores(NAMES, LabelDecision(None, 4)), quick_label_scores(4)
    for some, true in zip(logits.split(48), targets.split(48), strict=True):
        metric.update(some, true)
        quick.update(*prepare(some, true))
    scores = {name: value.item() for name, value in metric.compute().items()}
    true, probabilities, decided = targets.numpy(), logits.sigmoid().numpy(), (logits > 0).numpy()
    expected = {
        "exact_match": accuracy_score(true, decided),
        "macro_f1": f1_score(true, decided, average="macro"),
        "micro_f1": f1_score(true, decided, average="micro"),
        "average_precision": average_precision_score(true, probabilities),
        "auroc": roc_auc_score(true, probabilities),
    }
    for name, function in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        of_classes = function(true, decided, average=None, zero_division=0)
        expected |= {f"{name}/{label}": value for label, value in zip(NAMES, of_classes, strict=True)}
    assert scores.pop("calibration_error") > 0
    assert scores == pytest.approx(expected, abs=1e-6)
    few = {name: value.item() for name, value in quick.compute().items()}
    assert few == pytest.approx({name: expected[name] for name in ("exact_match", "macro_f1")}, abs=1e-6)


def test_a_class_without_positives_does_not_count_in_means() -> None:
    targets = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 0, 1]]).bool()
    metric = LabelScores(["a", "b", "c"], LabelDecision("f1", 3), choose=True)
    metric.update(torch.tensor([[3.0, 1, 2], [1, -1, 2], [2, -1, 2]]), targets)
    scores = metric.compute()
    assert "f1/b" not in scores
    assert (scores["macro_f1"], scores["average_precision"], scores["auroc"]) == (1, 1, 1)  # auroc: of a alone
    assert metric.decision.thresholds[1:] == [0.5, 0.5]
    assert torch.tensor(1.0).sigmoid() < metric.decision.thresholds[0] < torch.tensor(2.0).sigmoid()


@pytest.mark.parametrize("weights", [None, "balanced", [1.0, 2.0, 3.0, 4.0]])
def test_the_loss_is_the_binary_cross_entropy_of_each_class(weights: Any, command: Command, rows: Rows) -> None:
    data = read(command.folder / "pairs" / "labels.csv")
    package = Classifier.__module__.partition(".")[0]
    network = {"_target_": f"{package}.models.mlp.MLP", "hidden": 8, "dropout": 0.0}
    model: Any = Classifier(network, {}, class_weights=weights, mixup=0.4, **data.facts)
    images, targets = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    counts = data.splits["train"][1].sum(0)
    size = len(data.splits["train"][1])
    expected = (size - counts) / counts if weights == "balanced" else weights and torch.tensor(weights)
    with torch.no_grad():
        torch.manual_seed(3)
        loss = model.training_step((images, targets), 0)
        torch.manual_seed(3)
        mixed, share, partners = mix(images, 0.4)
        both = share * targets.float() + (1 - share) * targets[partners].float()
        assert loss.item() == pytest.approx(
            binary_cross_entropy_with_logits(model(mixed), both, pos_weight=expected).item(), rel=1e-5
        )


def table(path: Path) -> dict[str, dict[str, str]]:
    return {row["file"]: row for row in csv.DictReader(path.open())}


def columns(rows: dict[str, dict[str, str]], names: list[str], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a mask of the labels in column `key`, and the probabilities, both (N, K)."""
    labels = [[name in row[key].split("|") for name in names] for row in rows.values()]
    return np.array(labels), np.array([[float(row[name]) for name in names] for row in rows.values()])


def test_a_run_with_chosen_thresholds_is_tested_evaluated_and_predicts_alike(command: Command, rows: Rows) -> None:
    words = ("monitor=val/average_precision", "model.threshold=f1", "model.class_weights=balanced")
    status, output = command("train.py", "name=pairs", *PAIRS, *words, "trainer.max_epochs=12")
    assert status == 0, output
    assert "Splits are stratified by the rarest label of each image" in output
    run = command.folder / "runs" / "pairs"
    names = sorted(NAMES)
    rows_of_test = table(run / "predictions" / "test_split.csv")
    true, probabilities = columns(rows_of_test, names, "target")
    decided, _ = columns(rows_of_test, names, "class")
    known = {row["file"]: "|".join(sorted(row["label"])) for row in rows}
    assert {name: row["target"] for name, row in rows_of_test.items()} == {name: known[name] for name in rows_of_test}
    scores = json.loads((run / "metrics.json").read_text())["test"]
    thresholds = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["decision_threshold"]
    assert [scores[f"threshold/{name}"] for name in names] == pytest.approx(thresholds)
    assert len({*thresholds}) > 1
    assert np.array_equal(decided, probabilities >= np.array(thresholds, np.float32))
    assert scores["exact_match"] == pytest.approx(accuracy_score(true, decided))
    assert scores["average_precision"] == pytest.approx(average_precision_score(true, probabilities), abs=1e-6)
    plots = {path.stem for path in (run / "plots").glob("*.png")}
    assert plots == {"learning_curves", "roc", "precision_recall", "worst_mistakes"}
    # evaluate.py and predict.py
    assert command("evaluate.py", "run=runs/pairs")[0] == 0
    assert json.loads((run / "evaluation_best.json").read_text())["test"] == pytest.approx(scores)
    assert command("predict.py", "run=runs/pairs", "input=pairs/scans", "output=pairs.csv")[0] == 0
    predicted = {f"scans/{name}": row for name, row in table(command.folder / "pairs.csv").items()}
    assert len(predicted) == 400
    assert all(predicted[name]["class"] == row["class"] for name, row in rows_of_test.items())
    # far above chance, which is the share of positives
    assert scores["average_precision"] > 2 * true.mean()
    # other data, with a label less
    fewer = [row for row in write_pairs(command.folder / "more", 60, seed=1) if "three" not in row["label"]]
    write_list(command.folder / "more" / "labels.csv", fewer)
    status, output = command("evaluate.py", "run=runs/pairs", "datamodule.root=more/labels.csv")
    assert status == 0, output
    assert f" of {len(fewer)} images" in output


def test_it_resumes_exactly_and_a_set_of_folds_decides_by_the_mean_of_their_thresholds(
    command: Command, rows: Rows
) -> None:
    check_killed(command, "pairs", *PAIRS, "model.threshold=f1", "model.mixup=0.2")
    words = ("folds=2", "model.threshold=balanced_accuracy", "trainer.max_epochs=1", "callbacks=[default]")
    status, output = command("train.py", "name=set", *PAIRS, *words)
    assert status == 0, output
    files = [command.folder / "runs/set" / f"fold_{number}" / "checkpoints" / "best.ckpt" for number in (1, 2)]
    own = torch.tensor([torch.load(file, weights_only=True)["decision_threshold"] for file in files])
    assert command("evaluate.py", "run=runs/set")[0] == 0
    scores = json.loads((command.folder / "runs/set/evaluation_best.json").read_text())["test"]
    assert [scores[f"threshold/{name}"] for name in sorted(NAMES)] == pytest.approx(own.mean(0).tolist())
    content = torch.load(files[0], weights_only=True)
    for value in (0.5, [0.5], [0.5, 0.5, 0.5, 7.0]):
        torch.save({**content, "decision_threshold": value}, command.folder / "broken.ckpt")
        status, output = command("evaluate.py", "run=runs/set/fold_1", "checkpoint=broken.ckpt")
        assert (status, len(output.strip().splitlines())) == (2, 1)
        assert "decision_threshold of the checkpoint is " in output
        assert "expected 4 numbers from 0 to 1" in output


def test_given_splits_and_test_images_of_their_own_are_kept(command: Command, rows: Rows) -> None:
    folder = command.folder / "pairs"
    given = [{**row, "split": ("train", "train", "val", "test")[number % 4]} for number, row in enumerate(rows)]
    data = read(write_list(folder / "given.csv", given, columns=("file", "label", "split")))
    assert {split: len(data.ids[split]) for split in data.splits} == {"train": 200, "val": 100, "test": 100}
    write_list(folder / "tested.csv", rows[:50])
    data = read(folder / "labels.csv", test=folder / "tested.csv", test_fraction=0.0)
    assert sorted(data.ids["test"]) == [row["file"] for row in rows[:50]]
    assert not {*data.ids["train"], *data.ids["val"]} & {*data.ids["test"]}
    assert labels_of(data) == {row["file"]: sorted(row["label"]) for row in rows}


def one_row(text: str) -> Any:
    return lambda rows: [{**rows[0], "label": [text]}, *rows[1:]]


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "one label": (lambda rows: [row for row in rows if len(row["label"]) < 2], {}, "without datamodule.multilabel"),
    "none": (lambda rows: [{**row, "label": []} for row in rows], {}, "no image has a label"),
    "separator": (lambda rows: rows, {"separator": ";"}, r"did you mean datamodule.separator='\|'\?"),
    "empty": (one_row("zero||one"), {}, r"scans/000.png has the labels 'zero\|\|one', of which one has no name"),
    "slash": (one_row("a/b"), {}, "the label 'a/b' holds a slash or a control character; rename it"),
    "balance": (
        lambda rows: rows,
        {"balance": True},
        r"datamodule.balance=true: .*expected model.class_weights=balanced",
    ),
    "no separator": (lambda rows: rows, {"separator": ""}, "datamodule.separator: expected a text between labels"),
    "single": (lambda rows: rows, {"multilabel": False}, r"for several labels an image, datamodule.multilabel=true"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_lists_are_refused_in_one_line(case: str, command: Command, rows: Rows) -> None:
    change, options, why = WRONG[case]
    changed = [row for row in change(rows) if row["label"] or options.get("multilabel", True)]
    path = write_list(command.folder / "pairs" / f"{case}.csv", changed)
    with pytest.raises(RefusedError, match=why) as refused:
        read(path, **options)
    assert len(str(refused.value).splitlines()) == 1


def test_other_refusals(command: Command, rows: Rows) -> None:
    folder = command.folder / "pairs"
    path = write_list(folder / "list.json", [row for row in rows if row["label"]])
    with pytest.raises(RefusedError, match=r"row 1 has a list of labels; .* datamodule.multilabel=true"):
        read(path, multilabel=False)
    with pytest.raises(RefusedError, match="expected a list of file,label: folders and Arrow files hold"):
        read(folder)
    two = [{**rows[0], "split": "train"}, {**rows[0], "split": "test"}]
    with pytest.raises(RefusedError, match=r"scans/000.png is in rows 1 and 2; expected one split for each image"):
        read(write_list(folder / "two.csv", two, columns=("file", "label", "split")))
    write_list(folder / "unknown.csv", [{**rows[0], "label": ["zero", "four"]}])
    with pytest.raises(RefusedError, match="has the label 'four', which no image of train has"):
        read(folder / "labels.csv", test=folder / "unknown.csv")
    for word, why in (
        ("model.positive_class=one", "is for one class an image: expected null"),
        ("model.class_weights=[1,2]", "holds 2 numbers; expected 4, one for each class"),
        ("monitor=val/accuracy", "Classifier logs "),
    ):
        status, output = command("train.py", "name=refused", *PAIRS, word)
        assert status == 2
        assert why in output.strip().splitlines()[-1]
        assert "Traceback" not in output


def test_two_processes_score_all_images_as_one_does(command: Command, rows: Rows) -> None:
    words = (*PAIRS, "trainer.max_epochs=1", "datamodule.test_fraction=0.25", "model.threshold=f1")
    status, output = command.process("train.py", "name=ddp", *words, "trainer=ddp", "trainer.devices=2")
    assert status == 0, output
    run = command.folder / "runs" / "ddp"
    rows_of_test = table(run / "predictions" / "test_split.csv")
    assert len(rows_of_test) == 100
    true, probabilities = columns(rows_of_test, sorted(NAMES), "target")
    scores = json.loads((run / "metrics.json").read_text())["test"]
    assert scores["average_precision"] == pytest.approx(average_precision_score(true, probabilities), abs=1e-6)
