"""What the tests need to know of this task: files as a user would bring them, and what a model gives for a batch."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from {{ cookiecutter.package_name }}.datamodules.auckland import AucklandDataModule

OWN_NAME = "counts.csv"  # of the user's files in the README
OWN_DATAMODULE = "series"
PLOTS = ("forecasts", "reliability")  # beside the learning curves
FILES: tuple[str, ...] = ()  # in the run folder beside those of every run
SMALL: tuple[str, ...] = ("datamodule.context=168", "datamodule.horizon=8")  # what makes the model of a test small
NO_SUCH_INPUT = "no such file"  # what predict.py says of `input=none`; empty where any words are an input
PLACE = "45 Queen Street"


@cache
def all_counts() -> tuple[Any, pd.DatetimeIndex]:
    """Each place, and the times of its counts."""
    panel = AucklandDataModule().load_panel()
    return panel, panel.step.times(panel.first + np.arange(panel.values.shape[1]))


def real_counts(days: int, place: str = PLACE, first: str = "2023-01-30") -> pd.DataFrame:
    """Hourly counts of one place: a row for each hour, its time and value."""
    panel, times = all_counts()
    values = pd.Series(panel.values[panel.names.index(place)], times)
    return values.loc[first:].iloc[: 24 * days].rename_axis("time").rename("value").reset_index()


def write_own_data(path: Path, days: int = 100) -> None:
    """Real counts of one place."""
    real_counts(days).to_csv(path, index=False)


def write_inputs(folder: Path) -> str:
    """What `input=` of predict.py may say, of files in `folder`."""
    real_counts(20).to_csv(folder / "history.csv", index=False)
    return "history.csv"


def outputs(model: Any, batch: Any) -> Tensor:
    """Of each sample (B, …)."""
    history, phases, _, _, offset = batch
    return model(history, phases, offset)


def loss(model: Any, batch: Any) -> Tensor:
    """A loss that every parameter has a part in, the same for the same weights."""
    history, phases, target, scale, _ = batch
    return model.loss(model(history, phases), target, scale)
