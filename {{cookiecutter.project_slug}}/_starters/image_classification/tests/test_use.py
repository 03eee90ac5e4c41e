"""A finished run on pictures of one's own: predictions, fine-tuning, evaluation on other data."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command
from sklearn.datasets import load_digits

from {{ cookiecutter.package_name }} import load_run

SHORT = ("trainer.max_epochs=2", "trainer.accelerator=cpu", "callbacks=[default]", "~logger")


@pytest.fixture(scope="module")
def run(command: Command) -> Path:
    status, output = command("train.py", "name=first", *SHORT)
    assert status == 0, output
    run = command.folder / "runs" / "first"
    assert json.loads((run / "metrics.json").read_text())["test"]["accuracy"] > 0.5
    return run


def test_evaluation_on_other_data_and_the_last_checkpoint(run: Path, command: Command) -> None:
    status, output = command("evaluate.py", "run=runs/first", "checkpoint=last", "datamodule.split_seed=5")
    assert status == 0, output
    content = json.loads((run / "evaluation_last.json").read_text())
    assert content["overrides"] == ["datamodule.split_seed=5"]
    assert content["test"] != json.loads((run / "metrics.json").read_text())["test"]


def test_prediction_names_each_file_and_goes_on_after_a_broken_one(run: Path, command: Command, own_data: Path) -> None:
    status, output = command("predict.py", "run=runs/first", f"input={own_data}")
    assert status == 0, output
    assert "broken.png can't be read" in output
    rows = list(csv.DictReader((run / "predictions" / "pictures.csv").open()))
    assert len(rows) == sum(path.is_file() for path in own_data.rglob("*")) - 1
    for row in rows:
        assert (own_data / row["file"]).is_file()
        probabilities = {name: float(row[name]) for name in map(str, range(10))}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert row["class"] == max(probabilities, key=lambda name: probabilities[name])


def test_prediction_of_an_array_is_that_of_the_model(run: Path, command: Command) -> None:
    scans = np.asarray(load_digits(return_X_y=True)[0][:9]).reshape(-1, 8, 8) / 16
    np.save(command.folder / "scans.npy", scans)
    status, output = command("predict.py", "run=runs/first", "input=scans.npy", "output=out/scans.csv")
    assert status == 0, output
    model, datamodule = load_run(run)
    assert type(datamodule).__name__ == "DigitsDataModule"
    expected = model(torch.from_numpy(scans).float()[:, None]).argmax(1).tolist()
    rows = list(csv.DictReader((command.folder / "out" / "scans.csv").open()))
    assert [int(row["class"]) for row in rows] == expected


def test_fine_tuning_starts_from_the_weights_and_says_what_did_not_fit(
    run: Path, command: Command, own_data: Path
) -> None:
    status, output = command(
        "train.py", "name=tuned", "init_from=runs/first", "datamodule=image_folder", f"datamodule.root={own_data}",
        "datamodule.channels=1", "datamodule.size=8", *SHORT,
    )  # fmt: skip
    assert status == 0, output
    assert "network.head.1.weight starts anew: (3, 256) here, (10, 256) there" in output
    assert "broken.png can't be read" in output
    metrics = json.loads((command.folder / "runs" / "tuned" / "metrics.json").read_text())
    assert len([name for name in metrics["test"] if name.startswith("f1/")]) == 3


def test_a_folder_without_pictures_is_refused(run: Path, command: Command) -> None:
    status, output = command("predict.py", "run=runs/first", "input=runs/first/checkpoints")
    assert status == 2
    assert "no .png, .jpg, .jpeg file" in output
    assert len(output.strip().splitlines()) == 1
