"""Image classification beyond the contracts of models and datamodules: batches, metrics, predictions, fine-tuning."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NO_LOGGER, Command, options
from omegaconf import DictConfig
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, f1_score
from torch.nn.functional import cross_entropy

from {{ cookiecutter.package_name }} import load_run
from {{ cookiecutter.package_name }}.callbacks.report import in_two_lines, worst_of
from {{ cookiecutter.package_name }}.datamodules.image_folder import ImageFolderDataModule
from {{ cookiecutter.package_name }}.datamodules.image_store import as_floats
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.engine.training.train import build_datamodule
from {{ cookiecutter.package_name }}.models.classes import ClassScores, Decision, quick_scores
from {{ cookiecutter.package_name }}.models.epoch_metrics import EpochMetrics

Configure = Callable[..., DictConfig]
SHORT = ("trainer.max_epochs=2", "trainer.accelerator=cpu", "callbacks=[default]", *NO_LOGGER)


@pytest.mark.parametrize("option", options("datamodule"))
def test_batches_have_the_shape_and_range_that_the_facts_tell(option: str, configure: Configure) -> None:
    cfg = configure(f"datamodule={option}", "datamodule.batch_size=16")
    data = build_datamodule(cfg)
    images, targets = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert images.shape == (16, *data.facts["input_shape"])
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert targets.shape == (16,)
    assert targets.dtype == torch.int64
    assert len(data.facts["class_names"]) > targets.max()


@pytest.mark.parametrize("option", options("datamodule"))
@pytest.mark.parametrize("words", [(), ("++datamodule.folds=4", "++datamodule.fold=2")], ids=["plain", "fold"])
def test_each_split_has_each_class_in_its_proportion(words: tuple[str, ...], option: str, configure: Configure) -> None:
    data = build_datamodule(configure(f"datamodule={option}", *words))
    shares = {
        name: torch.bincount(targets, minlength=len(data.class_names)) / len(targets)
        for name, (_, targets) in data.splits.items()
    }
    for name in ("val", "test"):
        assert torch.allclose(shares[name], shares["train"], atol=0.06)


def test_mistakes_are_drawn_before_correct_images() -> None:
    probabilities = torch.tensor([[0.35, 0.33, 0.32], [0.1, 0.5, 0.4], [0.9, 0.05, 0.05], [0.0, 0.9, 0.1]])
    targets = torch.tensor([0, 2, 0, 2])  # the first is correct, though its class got less than that of the second
    assert worst_of(probabilities, targets, probabilities.argmax(-1), 4).tolist() == [3, 1, 0, 2]
    assert worst_of(probabilities, targets, probabilities.argmax(-1), 2).tolist() == [3, 1]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("test/cat/1.png", "test/cat/1.png"),
        ("validation/cat/IMG_20240131_1200.png", "validation/cat/\nIMG_20240131_1200.png"),
        ("photographs/of/many/animals/cat/1.png", "…hs/of/many/animals/cat/\n1.png"),
        ("cat/a_very_long_name_of_a_photograph_0001.png", "cat/\n…f_a_photograph_0001.png"),
    ],
)
def test_a_long_name_of_a_file_is_broken_after_its_folder(name: str, shown: str) -> None:
    assert in_two_lines(name) == shown


@pytest.mark.parametrize("option", options("datamodule"))
def test_every_image_is_in_a_split(option: str, configure: Configure) -> None:
    data = build_datamodule(configure(f"datamodule={option}"))
    divided = [image.numpy().tobytes() for images, _ in data.splits.values() for image in images]
    assert sorted(divided) == sorted(image.numpy().tobytes() for image in data.load_images().images)


def test_transparent_images_are_predicted_with_the_background_of_training(tmp_path: Path) -> None:
    digits: Any = load_digits()
    shares = {}
    for number, (scan, target) in enumerate(zip(digits.images[:100], digits.target[:100] % 2, strict=True)):
        name = f"{target}/{number}.png"
        shares[name] = (scan * 255 / 16).astype(np.uint8)
        shape = Image.new("RGB", (8, 8))  # black
        shape.putalpha(Image.fromarray(shares[name]))
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shape.save(tmp_path / name)
    for background, grey in (("white", 1), ("red", 0.299), ("#808080", 128 / 255)):
        data = ImageFolderDataModule(root=tmp_path, size=8, background=background, channels=1)
        data.setup("fit")
        names = [name for split in data.splits for name in data.ids[split]]
        splits = [as_floats(images[torch.arange(len(images))]) for images, _ in data.splits.values()]
        learnt = dict(zip(names, torch.cat(splits), strict=True))
        for name, image in learnt.items():
            assert np.abs(image[0].numpy() - grey * (1 - shares[name] / 255)).max() < 1.5 / 255
        data.read_inputs(str(tmp_path), {"input_shape": [1, 8, 8]})
        inputs = as_floats(data.inputs[0][torch.arange(len(data.names))])
        assert all(torch.equal(image, learnt[name]) for name, image in zip(data.names, inputs, strict=True))
    for colour in ("whit", "#12", "#00000000", ""):
        with pytest.raises(RefusedError, match=r"datamodule.background(=.*)?: expected a colour such as white"):
            ImageFolderDataModule(root=tmp_path, background=colour)


@pytest.mark.parametrize("scores_of_batches", [quick_scores(5), ClassScores([*"abcde"], Decision(None, None, 5))])
@pytest.mark.parametrize("every", [1, 3, 50])
def test_scores_of_an_epoch_are_scikit_learns(every: int, scores_of_batches: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 5, (100,), generator=generator)
    logits = torch.randn(100, 5, generator=generator) + 1.5 * torch.eye(5)[targets]
    metrics = EpochMetrics(scores_of_batches, every=every)
    for epoch in range(2):  # the second checks the reset
        part = slice(0, 90) if epoch else slice(None)
        for some_logits, some_targets in zip(logits[part].split(16), targets[part].split(16), strict=True):
            metrics.update(cross_entropy(some_logits, some_targets), some_logits, some_targets)
        scores = metrics.compute()
        predicted, true = logits[part].argmax(1), targets[part]
        assert scores["accuracy"].item() == pytest.approx(accuracy_score(true, predicted))
        assert scores["macro_f1"].item() == pytest.approx(f1_score(true, predicted, average="macro"))
        one_by_one = cross_entropy(logits[part], true, reduction="sum").item() / len(true)
        assert scores["loss"].item() == pytest.approx(one_by_one, rel=1e-5)


@pytest.fixture(scope="module")
def run(command: Command) -> Path:
    status, output = command("train.py", "name=first", *SHORT)
    assert status == 0, output
    run = command.folder / "runs" / "first"
    assert json.loads((run / "metrics.json").read_text())["test"]["accuracy"] > 0.5
    return run


def write_digits(folder: Path, numbers: range) -> None:
    """Write scans of the default data as files, one folder per class; the first two of each class are mirrored."""
    digits: Any = load_digits()
    for target in range(10):
        (folder / str(target)).mkdir(parents=True)
        for number, scan in enumerate(digits.images[digits.target == target][numbers.start : numbers.stop]):
            pixels = (scan * 255 / 16).round().astype(np.uint8)
            image = Image.fromarray(pixels[:, ::-1] if number < 2 else pixels)
            image.save(folder / str(target) / f"{number:02}.png")


def test_other_data_is_measured_whole_without_what_was_trained_on(command: Command) -> None:
    """Recompute the accuracy from the images."""
    write_digits(command.folder / "mine", range(40))
    write_digits(command.folder / "new", range(30, 60))
    words = ("datamodule=image_folder", "datamodule.root=mine", "datamodule.size=8", "datamodule.channels=1")
    assert command("train.py", "name=mine", *words, *SHORT)[0] == 0
    status, output = command("evaluate.py", "run=runs/mine", "checkpoint=last", "datamodule.root=new")
    assert status == 0, output
    content = json.loads((command.folder / "runs" / "mine" / "evaluation_last_on_new.json").read_text())
    known: Any = load_run(command.folder / "runs" / "mine", "last")
    model, data = known
    data.root = command.folder / "mine"
    data.setup("fit")
    seen = {as_floats(image).numpy().tobytes() for split in ("train", "val") for image in data.splits[split][0]}
    right, counted = 0, 0
    for path in sorted((command.folder / "new").rglob("*.png")):
        image = torch.from_numpy(np.asarray(Image.open(path)).astype(np.float32) / 255)[None]
        if image.numpy().tobytes() not in seen:
            counted += 1
            right += int(model(image[None]).argmax() == int(path.parent.name))
    assert 0 < 300 - counted < 100
    assert (content["samples"], content["left_out"]) == (counted, 300 - counted)
    assert content["test"]["accuracy"] == pytest.approx(right / counted, abs=1e-6)
    assert f" of {counted} images" in output


def test_test_images_of_their_own_are_all_tested_and_belong_to_the_run(command: Command) -> None:
    write_digits(command.folder / "most", range(40))
    write_digits(command.folder / "held_out", range(40, 60))
    words = ("datamodule=image_folder", "datamodule.root=most", "datamodule.size=8", "datamodule.channels=1")
    own = ("datamodule.test=held_out", "datamodule.test_fraction=0")
    status, output = command("train.py", "name=given", *words, *own, *SHORT)
    assert status == 0, output
    assert "test 200 (datamodule.test=held_out)" in output
    metrics = json.loads((command.folder / "runs" / "given" / "metrics.json").read_text())
    assert metrics["samples"] == {"train": 360, "val": 40, "test": 200}
    status, output = command("evaluate.py", "run=runs/given")
    assert status == 0, output
    same = json.loads((command.folder / "runs" / "given" / "evaluation_best.json").read_text())
    assert (same["test"], same["left_out"]) == (metrics["test"], 0)
    write_digits(command.folder / "third", range(60, 70))
    status, output = command("evaluate.py", "run=runs/given", "datamodule.root=third")
    assert status == 0, output
    other = json.loads((command.folder / "runs" / "given" / "evaluation_best_on_third.json").read_text())
    assert other["samples"] + other["left_out"] == 100
    status, output = command("evaluate.py", "run=runs/given", "datamodule.test=third")
    assert (status, len(output.strip().splitlines())) == (2, 1)
    assert "datamodule.test=third: the run's own data keeps its split" in output
    (command.folder / "held_out").rename(command.folder / "elsewhere")
    assert command("evaluate.py", "run=runs/given", "datamodule.root=third")[0] == 0


def test_prediction_names_each_file_and_goes_on_after_a_broken_one(run: Path, command: Command, own_data: Path) -> None:
    status, output = command("predict.py", "run=runs/first", f"input={own_data}")
    assert status == 0, output
    assert "broken.png can't be read" in output
    rows = list(csv.DictReader((run / "predictions" / "images.csv").open()))
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
    before, after = (
        torch.load(command.folder / "runs" / name / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        for name in ("first", "tuned")
    )
    shapes = {name: (tuple(after[name].shape), tuple(before[name].shape)) for name in after}
    differing = {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}
    assert differing
    for name, (here, there) in differing.items():
        assert f"{name} starts anew: {here} here, {there} there" in output
    assert "broken.png can't be read" in output
    metrics = json.loads((command.folder / "runs" / "tuned" / "metrics.json").read_text())
    assert len([name for name in metrics["test"] if name.startswith("f1/")]) == 3


def test_a_folder_without_images_is_refused(run: Path, command: Command) -> None:
    status, output = command("predict.py", "run=runs/first", "input=runs/first/checkpoints")
    assert status == 2
    assert "no image file in this folder (.png, .jpg, " in output
    assert "it holds best.ckpt, last.ckpt" in output
    assert len(output.strip().splitlines()) == 1
