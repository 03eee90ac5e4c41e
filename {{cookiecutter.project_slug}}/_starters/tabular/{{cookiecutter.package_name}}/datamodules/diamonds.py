"""Prices of 53,794 diamonds, a table that comes with plotnine (MIT licence), so nothing is downloaded.

Source: the data set `diamonds` of ggplot2 (MIT licence), prices in US dollars of about 2008.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .table_files import read_table
from .table_values import numbers
from .tabular import Table, TabularDataModule

DIMENSIONS = ["x", "y", "z"]  # length, width and depth in mm


class DiamondsDataModule(TabularDataModule):
    """Weight (carat), cut, colour, clarity and dimensions of each diamond, and its price.

    Of 53,940 rows 146 are duplicates, which are dropped so that none is both trained and tested on. A dimension of 0
    means that it was not measured.
    """

    def load_table(self) -> Table:
        package = find_spec("plotnine")  # importing it would take seconds
        if package is None or package.origin is None:
            raise ModuleNotFoundError("No module named 'plotnine'", name="plotnine")
        path = Path(package.origin).parent / "data" / "diamonds.csv"
        frame = read_table(path).drop_duplicates()
        for column in DIMENSIONS:
            frame.loc[numbers(frame, column, path) == 0, column] = np.nan
        return Table(frame, path)
