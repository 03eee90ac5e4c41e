"""Evaluation on other images: all of them are tested, the judge is trained on them, and no real ones remain."""

import json
import shutil
from pathlib import Path

from conftest import NO_LOGGER, Command
from digit_files import CLASSES


def test_other_images_are_compared_whole_without_those_of_the_training(command: Command, own_data: Path) -> None:
    shutil.copytree(own_data, command.folder / "own")
    for name in CLASSES:
        (command.folder / "other" / name).mkdir(parents=True)
        for number, file in enumerate(sorted((own_data / name).glob("0*"))[:12]):
            shutil.copy(file, command.folder / "other" / name / f"copy_{number}{file.suffix}")
    words = ("datamodule=image_folder", "datamodule.root=own", "datamodule.size=8", "datamodule.channels=1")
    quick = ("model=gan", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "callbacks=[default]", *NO_LOGGER)
    assert command("train.py", "name=own", *words, *quick)[0] == 0
    status, output = command("evaluate.py", "run=runs/own", "datamodule.root=other")
    assert status == 0, output
    content = json.loads((command.folder / "runs" / "own" / "evaluation_best_on_other.json").read_text())
    assert content["samples"] + content["left_out"] == 12 * len(CLASSES)
    assert content["left_out"] > content["samples"] > 1
    assert content["test"].keys() == {"loss", "frechet"}
    (command.folder / "few" / CLASSES[0]).mkdir(parents=True)
    shutil.copy(sorted((own_data / CLASSES[0]).glob("0*"))[0], command.folder / "few" / CLASSES[0])
    status, output = command("evaluate.py", "run=runs/own", "datamodule.root=few")
    assert status == 2, output  # after a line about what was read
