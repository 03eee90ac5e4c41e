"""What the tests need to know of this task: files as a user would bring them, and what a model gives for a batch."""

from pathlib import Path
from typing import Any

from torch import Tensor

from {{ cookiecutter.package_name }}.datamodules.diamonds import DiamondsDataModule
from {{ cookiecutter.package_name }}.datamodules.tables import write_table

OWN_NAME = "mine.csv"  # of the user's files in the README
OWN_DATAMODULE = "table"
PLOTS = ("predicted_and_true", "residuals", "importance")  # beside the learning curves
FILES: tuple[str, ...] = ()  # in the run folder beside those of every run
SMALL: tuple[str, ...] = ()  # what makes the model of a test small, where the default takes long
NO_SUCH_INPUT = "no such file"  # what predict.py says of `input=none`


def write_own_data(path: Path, every: int = 40) -> None:
    """The table of a user: 1,345 real diamonds, the price in the last column, where the target is by default."""
    frame = DiamondsDataModule().load_table().frame.iloc[::every]
    write_table(frame[[name for name in frame.columns if name != "price"] + ["price"]], path)


def write_inputs(folder: Path) -> str:
    """What `input=` of predict.py may say, of files in `folder`."""
    write_table(DiamondsDataModule().load_table().frame.iloc[5:3000:100], folder / "new.csv")
    return "new.csv"


def outputs(model: Any, batch: Any) -> Tensor:
    """Of each row (B, …), in thousands of dollars."""
    return model(*batch[:2]) / 1000


def loss(model: Any, batch: Any) -> Tensor:
    """A loss that every parameter has a part in, the same for the same weights."""
    return model.target.loss(model(*batch[:2]), batch[2])
