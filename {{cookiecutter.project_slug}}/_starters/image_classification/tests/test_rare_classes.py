"""Rare classes of images: weights, balanced epochs, the threshold, and the table of the test images."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NO_LOGGER, Command
from omegaconf import OmegaConf
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score
from test_classification import SHORT, write_digits
from test_resume import check_killed
from torch import Tensor

from {{ cookiecutter.package_name }} import load_run
from {{ cookiecutter.package_name }}.engine.training.train import build_datamodule


def test_class_weights_change_the_training_and_are_plain_in_the_checkpoint(command: Command) -> None:
    assert command("train.py", "name=plain", *SHORT)[0] == 0
    status, output = command("train.py", "name=weighted", "model.class_weights=balanced", *SHORT)
    assert status == 0, output
    content = torch.load(best_of(command, "weighted"), weights_only=True)
    hparams = content["hyper_parameters"]
    targets = torch.cat([each for _, each in build_datamodule(run_config(command, "weighted")).train_dataloader()])
    assert hparams["class_weights"] == "balanced"
    assert hparams["statistics"] == {"class_counts": targets.bincount().tolist()}
    before = torch.load(best_of(command, "plain"), weights_only=True)["state_dict"]
    assert before.keys() == content["state_dict"].keys()
    assert not all(torch.equal(value, content["state_dict"][name]) for name, value in before.items())
    loaded: Any = load_run(command.folder / "runs" / "weighted").model
    assert loaded.class_weights.tolist() == pytest.approx((len(targets) / targets.bincount() / 10).tolist())


def best_of(command: Command, name: str) -> Path:
    return command.folder / "runs" / name / "checkpoints" / "best.ckpt"


def run_config(command: Command, name: str) -> Any:
    return OmegaConf.load(command.folder / "runs" / name / "config.yaml")


WRONG_WEIGHTS = {
    "[1, 2]": "holds 2 numbers; expected 10, one for each of 0, 1, 2",
    "[1, 1, 1, 1, 1, 1, 1, 1, 1, 0]": "expected 'balanced' or a value greater than 0",
    "[1, 1, 1, 1, 1, 1, 1, 1, 1, -2]": "expected 'balanced' or a value greater than 0",
    "balance": "did you mean balanced?",
}


@pytest.mark.parametrize("weights", WRONG_WEIGHTS)
def test_wrong_class_weights_are_refused_in_one_line(weights: str, command: Command) -> None:
    status, output = command("train.py", "name=refused", f"model.class_weights={weights}", *SHORT)
    assert status == 2
    assert f"model.class_weights={weights}: " in output
    assert WRONG_WEIGHTS[weights] in output
    assert len(output.strip().splitlines()) == 1
    assert not (command.folder / "runs" / "refused").exists()


@pytest.fixture(scope="module")
def imbalanced(command: Command) -> Path:
    """Write scans of the digits 3 and 8 as files: 150 threes and 15 eights."""
    folder = command.folder / "imbalanced"
    digits: Any = load_digits()
    for name, target, count in (("three", 3, 150), ("eight", 8, 15)):
        (folder / name).mkdir(parents=True)
        for number, scan in enumerate(digits.images[digits.target == target][:count]):
            Image.fromarray((scan * 255 / 16).round().astype(np.uint8)).save(folder / name / f"{number:03}.png")
    return folder


IMBALANCED = (
    "datamodule=image_folder", "datamodule.root=imbalanced", "datamodule.size=8", "datamodule.channels=1",
    "datamodule.batch_size=16",
)  # fmt: skip


def test_a_balanced_epoch_has_as_many_images_of_each_class_and_resumes_exactly(
    command: Command, imbalanced: Path
) -> None:
    killed = check_killed(command, "balanced", *IMBALANCED, "datamodule.balance=true", "trainer.limit_train_batches=4")
    cfg = run_config(command, killed.name)
    cfg.datamodule.root = str(imbalanced)
    data = build_datamodule(cfg)
    loader: Any = data.train_dataloader()
    drawn: list[Tensor] = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        targets = torch.cat([targets for _, targets in loader])
        assert targets.bincount().tolist() in ([57, 58], [58, 57])
        drawn.append(targets)
    assert not torch.equal(*drawn)
    assert [targets.bincount().tolist() for _, targets in data.splits.values()] == [[10, 105], [2, 15], [3, 30]]


def table(path: Path) -> dict[str, dict[str, str]]:
    """Read a table of predictions; return its rows by the id of the sample."""
    rows = list(csv.DictReader(path.open()))
    assert len({row["file"] for row in rows}) == len(rows)
    return {row["file"]: row for row in rows}


def test_the_table_of_the_test_images_gives_the_metrics_of_the_run(command: Command) -> None:
    write_digits(command.folder / "scans", range(30))
    words = ("datamodule=image_folder", "datamodule.root=scans", "datamodule.size=8", "datamodule.channels=1")
    words = (*words, "trainer.max_epochs=1", "trainer.accelerator=cpu", *NO_LOGGER)
    status, output = command("train.py", "name=tabled", *words)
    assert status == 0, output
    run = command.folder / "runs" / "tabled"
    assert "Test predictions  runs/tabled/predictions/test_split.csv" in output
    rows = table(run / "predictions" / "test_split.csv")
    assert all(Path(name).parent.name == row["target"] for name, row in rows.items())
    probabilities = np.array([[float(row[name]) for name in map(str, range(10))] for row in rows.values()])
    targets, decisions = ([int(row[key]) for row in rows.values()] for key in ("target", "class"))
    assert probabilities.argmax(1).tolist() == decisions
    scores = json.loads((run / "metrics.json").read_text())["test"]
    assert len(rows) == json.loads((run / "metrics.json").read_text())["samples"]["test"]
    assert scores["accuracy"] == pytest.approx(accuracy_score(targets, decisions))
    areas = [roc_auc_score(np.equal(targets, k), probabilities[:, k]) for k in range(10)]
    assert scores["auroc"] == pytest.approx(np.mean(areas), abs=1e-6)
    # evaluate.py writes its own beside it
    assert command("evaluate.py", "run=runs/tabled")[0] == 0
    assert table(run / "predictions" / "evaluation_best.csv") == rows
    write_digits(command.folder / "others", range(40, 50))
    assert command("evaluate.py", "run=runs/tabled", "datamodule.root=others")[0] == 0
    assert len(table(run / "predictions" / "evaluation_best_on_others.csv")) == 100
    assert table(run / "predictions" / "test_split.csv") == rows


def test_the_threshold_of_validation_is_in_the_checkpoint_and_decides_test_and_predictions(
    command: Command, imbalanced: Path
) -> None:
    words = (*IMBALANCED, "model.threshold=f1", "trainer.max_epochs=2", "trainer.accelerator=cpu", *NO_LOGGER)
    status, output = command("train.py", "name=chosen", *words)
    assert status == 0, output
    run = command.folder / "runs" / "chosen"
    threshold = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["decision_threshold"]
    assert isinstance(threshold, float)
    scores = json.loads((run / "metrics.json").read_text())
    assert scores["test"]["threshold"] == scores["val"]["threshold"] == pytest.approx(threshold)
    rows = table(run / "predictions" / "test_split.csv").values()
    decisions = [row["class"] for row in rows]
    assert decisions == ["eight" if float(row["eight"]) >= threshold else "three" for row in rows]
    recall = recall_score([row["target"] for row in rows], decisions, pos_label="eight")
    assert scores["test"]["recall/eight"] == pytest.approx(recall)
    # at a threshold that one has set, more or fewer are found
    found = {}
    for name, value in (("all", 0.001), ("none", 0.999)):
        content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
        torch.save({**content, "decision_threshold": value}, command.folder / f"{name}.ckpt")
        chosen = ("run=runs/chosen", f"checkpoint={name}.ckpt")
        assert command("predict.py", *chosen, "input=imbalanced", f"output={name}.csv")[0] == 0
        rows = table(command.folder / f"{name}.csv").values()
        found[name] = sum(row["class"] == "eight" for row in rows)
        assert found[name] == sum(float(row["eight"]) >= value for row in rows)
    assert found["all"] > found["none"]
    torch.save({**content, "decision_threshold": 7.0}, command.folder / "broken.ckpt")
    status, output = command("evaluate.py", "run=runs/chosen", "checkpoint=broken.ckpt")
    assert (status, len(output.strip().splitlines())) == (2, 1)
    assert "decision_threshold of the checkpoint is 7.0; expected a number from 0 to 1" in output


def test_a_threshold_and_averaged_weights_resume_exactly_and_are_tested_together(
    command: Command, imbalanced: Path
) -> None:
    words = ("model.threshold=balanced_accuracy", "trainer.limit_val_batches=1.0", "callbacks=[default,ema]")
    run = check_killed(command, "threshold", *IMBALANCED, last=words)
    scores = json.loads((run / "metrics.json").read_text())
    assert scores["test"]["threshold"] == scores["val"]["threshold"]


def test_a_set_of_folds_decides_by_the_mean_of_their_thresholds(command: Command, imbalanced: Path) -> None:
    words = (*IMBALANCED, "model.threshold=f1", "trainer.max_epochs=1", "callbacks=[default]", *NO_LOGGER)
    status, output = command("train.py", "name=set", "folds=2", *words)
    assert status == 0, output
    run = command.folder / "runs" / "set"
    files = [run / f"fold_{number}" / "checkpoints" / "best.ckpt" for number in (1, 2)]
    own = [torch.load(file, weights_only=True)["decision_threshold"] for file in files]
    assert own[0] != own[1]
    assert command("evaluate.py", "run=runs/set")[0] == 0
    scores = json.loads((run / "evaluation_best.json").read_text())["test"]
    assert scores["threshold"] == pytest.approx(sum(own) / 2)


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("model.threshold=f1", "is for two classes; the data has 10: expected null"),
        ("model.threshold=1.0", "expected 'f1' or 'balanced_accuracy' or a value less than 1"),
        ("model.threshold=recall", "expected 'f1' or 'balanced_accuracy' or a number"),
        ("model.positive_class=8", "is for two classes; the data has 10: expected null"),
    ],
)
def test_a_decision_that_the_data_does_not_allow_is_refused(word: str, why: str, command: Command) -> None:
    status, output = command("train.py", "name=refused", word, *SHORT)
    assert (status, len(output.strip().splitlines())) == (2, 1)
    assert f"{word}: {why}" in output
