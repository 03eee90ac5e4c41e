"""What the tests need to know of this task: files as a user would bring them, and what a model gives for a batch."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import cross_entropy

CLASSES = ("zero", "one", "two")
OWN_NAME = "images"  # of the user's files in the README
OWN_DATAMODULE = "image_folder"
PLOTS = ("confusion_matrix", "worst_mistakes")  # beside the learning curves
FILES: tuple[str, ...] = ()  # in the run folder beside those of every run
SMALL: tuple[str, ...] = ()  # what makes the model of a test small, where the default takes long
NO_SUCH_INPUT = "no such file"  # what predict.py says of `input=none`; empty where any words are an input


def write_own_data(path: Path, each: int = 40) -> None:
    """Real scans of three digits as PNG and JPEG files of several sizes, a folder for each class, one file broken."""
    digits: Any = load_digits()
    for target, name in enumerate(CLASSES):
        (path / name).mkdir(parents=True)
        for number, scan in enumerate(digits.images[digits.target == target][:each]):
            image = Image.fromarray((scan * 255 / 16).astype(np.uint8))
            suffix = "png" if number % 2 else "jpg"
            image.resize((8 + number % 9, 12)).save(path / name / f"{number:03}.{suffix}")
    (path / CLASSES[0] / "broken.png").write_bytes(b"\x89PNG is not all it takes")


def write_inputs(folder: Path) -> str:
    """What `input=` of predict.py may say, of files in `folder`."""
    digits: Any = load_digits()
    np.save(folder / "scans.npy", digits.images[:9] / 16)
    return "scans.npy"


def outputs(model: Any, batch: Any) -> Tensor:
    """Of each sample (B, …)."""
    return model(batch[0])


def loss(model: Any, batch: Any) -> Tensor:
    """A loss that every parameter has a part in, the same for the same weights."""
    return cross_entropy(model(batch[0]), batch[1])
