"""Facts about this task for the shared tests: a user's files, an input, and outputs and loss of the model."""

from pathlib import Path
from typing import Any

import numpy as np
from digit_files import write_own_data as write_own_data
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import cross_entropy

OWN_NAME = "images"  # the user's files in the README
OWN_DATAMODULE = "image_folder"
PLOTS = ("confusion_matrix", "precision_recall", "reliability", "roc", "worst_mistakes")  # besides the learning curves
FILES = ("predictions/test_split.csv",)  # in the run folder, besides those of every run
SMALL: tuple[str, ...] = ()  # overrides that make the model small, if the default is slow
NO_SUCH_INPUT = "no such file"  # what predict.py answers to `input=none`; empty if any words are valid input


def write_inputs(folder: Path) -> str:
    """Write an input for predict.py into `folder`; return the value of `input=`."""
    digits: Any = load_digits()
    np.save(folder / "scans.npy", digits.images[:9] / 16)
    return "scans.npy"


def outputs(model: Any, batch: Any) -> Tensor:
    """Model outputs (B, …), one per sample."""
    return model(batch[0])


def loss(model: Any, batch: Any) -> Tensor:
    """A deterministic loss with a gradient for every parameter."""
    return cross_entropy(model(batch[0]), batch[1])
