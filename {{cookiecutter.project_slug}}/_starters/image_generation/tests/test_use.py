"""A user's tasks: train on an own folder, generate classes, look at plots; and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NO_LOGGER, Command
from PIL import Image

from {{ cookiecutter.package_name }} import load_run
from {{ cookiecutter.package_name }}.datamodules.image_folder import ImageFolderDataModule
from {{ cookiecutter.package_name }}.engine.errors import RefusedError

SHORT = ("trainer.limit_train_batches=6", "trainer.accelerator=cpu", *NO_LOGGER)


@pytest.fixture(scope="module")
def run(command: Command) -> Path:
    """Train the GAN for two epochs, with plots after each."""
    words = ("name=first", "model=gan", *SHORT, "trainer.max_epochs=2", "callbacks=[default,report]")
    status, output = command("train.py", *words, "callbacks.report.every_n_epochs=1")
    assert status == 0, output
    return command.folder / "runs" / "first"


def test_grids_at_intervals_show_what_is_learnt(run: Path) -> None:
    files = [run / "plots" / f"samples_epoch_000{epoch}.png" for epoch in (1, 2)]
    first, second = (np.asarray(Image.open(file).convert("L")) for file in files)
    assert first.shape == second.shape
    assert (first != second).any()
    assert first.std() > 5


@pytest.mark.parametrize("word", ["trainer.gradient_clip_val=1", "trainer.accumulate_grad_batches=2"])
def test_what_lightning_does_for_one_optimizer_alone_is_refused(word: str, command: Command) -> None:
    status, output = command("train.py", "name=refused", "model=gan", word)
    assert (status, len(output.splitlines())) == (2, 1)
    assert output.startswith(f"{word}: GAN steps its optimizers itself")
    assert not (command.folder / "runs" / "refused").exists()


def test_gan_is_measured_by_the_distance_to_real_images(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["loss"] == metrics["test"]["frechet"] > metrics["test"]["frechet_real"] > 0


@pytest.mark.parametrize(("words", "classes"), [("3", [3]), ("[0,9,0]", [0, 9]), ("all", [*range(10)])])
def test_prediction_of_classes_is_a_sheet_and_an_array(
    words: str, classes: list[int], run: Path, command: Command
) -> None:
    sizes = ("datamodule.samples_per_class=4", "datamodule.batch_size=3")
    status, output = command("predict.py", "run=runs/first", f"input={words}", "output=drawn.png", *sizes)
    assert status == 0, output
    images = np.load(command.folder / "drawn.npy", allow_pickle=False)
    assert images.shape == (4 * len(classes), 1, 8, 8)
    with Image.open(command.folder / "drawn.png") as sheet:
        assert sheet.size == (4 * 68, len(classes) * 68)
        pixels = np.asarray(sheet)
    assert pixels[34, 34] == round(float(images[0, 0, 4, 4]) * 255)
    model: Any = load_run(run).model
    _, datamodule = load_run(run)
    data: Any = datamodule
    data.samples_per_class = 4
    data.read_inputs(words, model.hparams)
    with torch.no_grad():
        assert torch.allclose(model.predict_step(data.inputs, 0), torch.from_numpy(images), atol=1e-5)


def test_another_seed_draws_others(run: Path, command: Command) -> None:
    drawn = []
    for seed in (0, 0, 1):
        words = ("input=3", f"datamodule.sampling_seed={seed}", "output=seed.npy")
        status, output = command("predict.py", "run=runs/first", *words)
        assert status == 0, output
        drawn.append(np.load(command.folder / "seed.npy"))
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()


def test_a_class_that_is_not_there_is_refused(run: Path, command: Command) -> None:
    status, output = command("predict.py", "run=runs/first", "input=ten")
    assert status == 2
    assert output.strip() == "input=ten: no such class; expected all, or some of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"


def test_a_flat_folder_is_one_class(own_data: Path, command: Command) -> None:
    for file in (own_data / "two").iterdir():
        (command.folder / "flat").mkdir(exist_ok=True)
        shutil.copy(file, command.folder / "flat")
    words = ("datamodule=image_folder", "datamodule.root=flat", "datamodule.size=9")
    for model in ("flow", "gan"):
        status, output = command(
            "train.py", f"name=flat_{model}", f"model={model}", *words, *SHORT, "trainer.max_epochs=1",
            "callbacks=[default]",
        )  # fmt: skip
        assert status == 0, output
        status, output = command("predict.py", f"run=runs/flat_{model}", "input=flat", "output=flat.png")
        assert status == 0, output
        assert np.load(command.folder / "flat.npy").shape == (10, 3, 9, 9)


def folder_of(path: Path, files: dict[str, bytes]) -> ImageFolderDataModule:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return ImageFolderDataModule(root=path, size=8)


def test_a_flat_folder_may_come_divided(own_data: Path, tmp_path: Path) -> None:
    files = sorted((own_data / "two").iterdir())
    parts = {"train": files[:20], "val": files[20:25], "test": files[25:]}
    names = {f"{split}/{file.name}": file.read_bytes() for split, part in parts.items() for file in part}
    data = folder_of(tmp_path / "twos", names)
    data.setup("fit")
    assert data.class_names == ["twos"]
    assert {f"{name}" for ids in data.ids.values() for name in ids} == {*names}
    assert all(name.startswith(f"{split}/") for split, ids in data.ids.items() for name in ids)


def test_folders_that_nothing_can_be_learnt_from_are_refused_by_name(own_data: Path, tmp_path: Path) -> None:
    good = {f"cat/{file.name}": file.read_bytes() for file in (own_data / "one").iterdir()}
    some = dict(list(good.items())[:2])
    cut = {f"dog/{number}.png": file.read_bytes()[:60] for number, file in enumerate((own_data / "one").glob("*.png"))}
    cases = {
        "empty": ({"readme.txt": b"no image"}, "no image file in this folder"),
        "few": ({**good, **{name.replace("cat", "dog"): content for name, content in some.items()}},
                "few/dog has 2 images that can be read, of 2 files, too few to be split; expected at least 3"),
        "cut": ({**good, **cut}, "cut/dog has 0 images that can be read"),
        "mixed": ({**good, "1.png": good["cat/001.png"]}, "images beside folders of images, such as 1.png"),
    }  # fmt: skip
    for name, (files, message) in cases.items():
        with pytest.raises(RefusedError, match=r"^datamodule.root=") as refused:
            folder_of(tmp_path / name, files).setup("fit")
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)
