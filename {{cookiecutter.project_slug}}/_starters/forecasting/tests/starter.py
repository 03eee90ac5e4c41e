"""Facts about this task for the shared tests: a user's files, an input, and outputs and loss of the model."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from {{ cookiecutter.package_name }}.datamodules.auckland import AucklandDataModule

OWN_NAME = "counts.csv"  # the user's files in the README
OWN_DATAMODULE = "series"
PLOTS = ("forecasts", "reliability")  # besides the learning curves
FILES: tuple[str, ...] = ()  # in the run folder, besides those of every run
SMALL: tuple[str, ...] = ("datamodule.context=168", "datamodule.horizon=8")  # overrides that make the model small
NO_SUCH_INPUT = "no such file"  # what predict.py answers to `input=none`; empty if any words are valid input
PLACE = "45 Queen Street"


@cache
def all_counts() -> tuple[Any, pd.DatetimeIndex]:
    """The counts of all places as a panel, and their times."""
    panel = AucklandDataModule().load_panel()
    return panel, panel.step.times(panel.first + np.arange(panel.values.shape[1]))


def real_counts(days: int, place: str = PLACE, first: str = "2023-01-30") -> pd.DataFrame:
    """Hourly counts of one place, with columns time and value."""
    panel, times = all_counts()
    values = pd.Series(panel.values[panel.names.index(place)], times)
    return values.loc[first:].iloc[: 24 * days].rename_axis("time").rename("value").reset_index()


def write_own_data(path: Path, days: int = 100) -> None:
    """Write the counts of one place."""
    real_counts(days).to_csv(path, index=False)


def write_inputs(folder: Path) -> str:
    """Write an input for predict.py into `folder`; return the value of `input=`."""
    real_counts(20).to_csv(folder / "history.csv", index=False)
    return "history.csv"


def outputs(model: Any, batch: Any) -> Tensor:
    """Model outputs (B, …), one per sample."""
    history, phases, _, _, offset = batch
    return model(history, phases, offset)


def loss(model: Any, batch: Any) -> Tensor:
    """A deterministic loss with a gradient for every parameter."""
    history, phases, target, scale, _ = batch
    return model.loss(model(history, phases), target, scale)
