"""Rare classes of a table: weights, scores, the threshold, and the table of the test rows."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import NO_LOGGER, Command
from sklearn.metrics import average_precision_score, f1_score, log_loss, recall_score, roc_auc_score
from test_resume import check_killed

from {{ cookiecutter.package_name }} import load_run
from {{ cookiecutter.package_name }}.datamodules.diamonds import DiamondsDataModule
from {{ cookiecutter.package_name }}.datamodules.table import TableDataModule
from {{ cookiecutter.package_name }}.datamodules.table_files import read_table, write_table
from {{ cookiecutter.package_name }}.models.classes import Decision
from {{ cookiecutter.package_name }}.models.targets import ClassTarget

SHORT = ("trainer.max_epochs=2", "trainer.accelerator=cpu", *NO_LOGGER)
RARE = ("datamodule=table", "datamodule.root=rare.csv", "datamodule.target=quality")


@pytest.fixture(scope="module")
def rare(command: Command) -> pd.DataFrame:
    """Write a table of 5,380 diamonds, of which the 3 % of a fair cut are to be found."""
    frame = DiamondsDataModule().load_table().frame.iloc[::10]
    frame = frame.assign(quality=frame.cut.astype(str).where(frame.cut == "Fair", "other")).drop(columns="cut")
    write_table(frame, command.folder / "rare.csv")
    return read_table(command.folder / "rare.csv")


@pytest.fixture(scope="module")
def run(command: Command, rare: pd.DataFrame) -> Path:
    words = ("model.class_weights=balanced", "model.threshold=f1", "monitor=val/average_precision")
    status, output = command("train.py", "name=rare", *RARE, *words, *SHORT)
    assert status == 0, output
    assert re.search(r"Epoch 1 of 2, .*val/average_precision \d", output)  # what is monitored is shown
    return command.folder / "runs" / "rare"


def test_the_table_of_the_test_rows_gives_the_scores_of_the_run(run: Path, rare: pd.DataFrame) -> None:
    rows = list(csv.DictReader((run / "predictions" / "test_split.csv").open()))
    scores = json.loads((run / "metrics.json").read_text())["test"]
    true, decided = ([row[key] == "Fair" for row in rows] for key in ("target", "prediction"))
    assert [row["target"] for row in rows] == rare.loc[[int(row["row"]) for row in rows], "quality"].tolist()
    probability = [float(row["probability_Fair"]) for row in rows]
    assert decided == [each >= scores["threshold"] for each in probability]
    assert scores["f1/Fair"] == pytest.approx(f1_score(true, decided))
    assert scores["recall/Fair"] == pytest.approx(recall_score(true, decided))
    assert scores["auroc"] == pytest.approx(roc_auc_score(true, probability), abs=1e-6)
    assert scores["average_precision"] == pytest.approx(average_precision_score(true, probability), abs=1e-6)
    assert scores["average_precision"] > 3 * sum(true) / len(true)  # chance


def test_weights_and_threshold_are_plain_in_the_checkpoint(run: Path, rare: pd.DataFrame) -> None:
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    counts = content["hyper_parameters"]["statistics"]["class_counts"]
    frequent, few = sorted(counts, reverse=True)
    assert frequent + few == pytest.approx(0.7 * len(rare), rel=0.01)
    assert isinstance(content["decision_threshold"], float)
    model: Any = load_run(run).model
    assert model.target.weights.tolist() == pytest.approx([sum(counts) / 2 / count for count in counts])


def test_predictions_follow_the_threshold(run: Path, command: Command) -> None:
    threshold = json.loads((run / "metrics.json").read_text())["test"]["threshold"]
    assert command("predict.py", "run=runs/rare", "input=rare.csv")[0] == 0
    rows = list(csv.DictReader((run / "predictions" / "rare.csv").open()))
    beyond = [row for row in rows if abs(float(row["probability_Fair"]) - threshold) > 1e-6]  # rounded in the table
    assert all((row["prediction"] == "Fair") == (float(row["probability_Fair"]) > threshold) for row in beyond)
    assert {row["prediction"] for row in beyond} == {"Fair", "other"}


def test_it_resumes_exactly(command: Command, rare: pd.DataFrame) -> None:
    check_killed(command, "rare", *RARE, "model.class_weights=[5,1]", "model.threshold=balanced_accuracy")


def test_a_balanced_epoch_has_as_many_rows_of_each_class(command: Command, rare: pd.DataFrame) -> None:
    path = command.folder / "rare.csv"
    data = TableDataModule(path, target="quality", balance=True, batch_size=16)
    data.setup("fit")
    assert data.facts["statistics"].get("class_counts") == data.splits["train"][2].bincount().tolist()
    loader: Any = data.train_dataloader()
    epochs = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        epochs.append(torch.cat([targets for _, _, targets in loader]))
        size = len(epochs[-1])
        assert size == len(data.splits["train"][2])
        assert sorted(epochs[-1].bincount().tolist()) == [size // 2, size - size // 2]
    assert not torch.equal(*epochs)
    check_killed(command, "balanced", *RARE, "datamodule.balance=true")


def test_weights_of_classes_and_of_rows_are_multiplied() -> None:
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    true, rows = torch.arange(50) % 3, torch.arange(50) / 24.5  # 1 on average
    target = ClassTarget([*"abc"], Decision(None, None, 3), torch.tensor([0.5, 1.0, 2.0]))
    weights = rows.double() * torch.tensor([0.5, 1.0, 2.0]).double()[true]
    expected = log_loss(true, logits.double().softmax(1), sample_weight=weights) * weights.mean()
    assert target.loss(logits, true, rows).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_table_of_a_target_of_numbers_has_its_predictions(command: Command) -> None:
    status, output = command("train.py", "name=prices", "trainer.limit_train_batches=3", *SHORT)
    assert status == 0, output
    run = command.folder / "runs" / "prices"
    rows = list(csv.DictReader((run / "predictions" / "test_split.csv").open()))
    errors = [float(row["prediction"]) - float(row["target"]) for row in rows]
    mean = sum(map(abs, errors)) / len(errors)
    assert json.loads((run / "metrics.json").read_text())["test"]["mae"] == pytest.approx(mean, rel=1e-5)


WRONG = {
    "model.class_weights=balanced": "is for classes; the target is a number: expected null",
    "model.threshold=f1": "is for classes; the target is a number: expected null",
    "model.positive_class=cheap": "is for classes; the target is a number: expected null",
    "datamodule.balance=true": "is for classes; the target is a number: expected false",
    "model.class_weights=[1, -1]": "expected 'balanced' or a value greater than 0",
}


@pytest.mark.parametrize("word", WRONG)
def test_what_does_not_fit_the_target_is_refused(word: str, command: Command) -> None:
    status, output = command("train.py", "name=refused", word, *SHORT)
    assert (status, len(output.strip().splitlines())) == (2, 1)
    assert f"{word}: {WRONG[word]}" in output


def test_a_class_that_the_table_lacks_is_refused(command: Command, rare: pd.DataFrame) -> None:
    status, output = command("train.py", "name=refused", *RARE, "model.positive_class=Fare", *SHORT)
    assert status == 2
    assert "model.positive_class=Fare: is not a class; expected Fair or other; did you mean Fair?" in output
