"""Facts about this task for the shared tests: a user's files, an input, and outputs and loss of the model."""

from pathlib import Path
from typing import Any

from torch import Tensor

from {{ cookiecutter.package_name }}.datamodules.diamonds import DiamondsDataModule
from {{ cookiecutter.package_name }}.datamodules.table_files import write_table

OWN_NAME = "mine.csv"  # the user's files in the README
OWN_DATAMODULE = "table"
PLOTS = ("predicted_and_true", "residuals", "importance")  # besides the learning curves
FILES = ("predictions/test_split.csv",)  # in the run folder, besides those of every run
SMALL: tuple[str, ...] = ()  # overrides that make the model small, if the default is slow
NO_SUCH_INPUT = "no such file"  # what predict.py answers to `input=none`


def write_own_data(path: Path, every: int = 40) -> None:
    """Write a table of 1,345 diamonds with the price in the last column, the default target."""
    frame = DiamondsDataModule().load_table().frame.iloc[::every]
    write_table(frame[[name for name in frame.columns if name != "price"] + ["price"]], path)


def write_inputs(folder: Path) -> str:
    """Write an input for predict.py into `folder`; return the value of `input=`."""
    write_table(DiamondsDataModule().load_table().frame.iloc[5:3000:100], folder / "new.csv")
    return "new.csv"


def outputs(model: Any, batch: Any) -> Tensor:
    """Model outputs (B, …), one per row, in thousands of dollars."""
    return model(*batch[:2]) / 1000


def loss(model: Any, batch: Any) -> Tensor:
    """A deterministic loss with a gradient for every parameter."""
    return model.target.loss(model(*batch[:2]), batch[2])
