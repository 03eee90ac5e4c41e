"""Your own series: a CSV or Parquet file with a column of times and a column of values."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import FilePath

from .joined import joined
from .panel import SPLITS, Panel, read_panel
from .table_files import read_table
from .windows import WindowsDataModule

CSV_MEMORY = 10  # bytes of memory for a byte of a CSV file: a row holds the texts of a time and of a name for one value


class SeriesDataModule(WindowsDataModule):
    """Series in the file `root`: CSV (UTF-8; `,`, `;` or tab), TSV or Parquet. It is read once and kept in memory.

    With `test`, another file, its series test, from where those of the same name in `root` end; `root` trains and
    validates. Histories of the test reach into `root`.
    """

    def __init__(self, root: FilePath, test: FilePath | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.root, self.test = Path(root), None if test is None else Path(test)

    def load_panel(self) -> Panel:
        splits = () if self.test_fraction == 1 else SPLITS if self.test is None else SPLITS[:2]
        frame = read_table(self.root, csv_memory=CSV_MEMORY)
        return read_panel(frame, self.columns, self.root, self.gaps, splits=splits)

    def load_test(self, own: Panel) -> tuple[Panel, range, np.ndarray] | None:
        if self.test is None:
            return None
        frame = read_table(self.test, "datamodule.test", CSV_MEMORY)
        later = read_panel(frame, self.columns, self.test, self.gaps, splits=(), step=own.step)
        return joined(own, later, self.test)

    def take_whole(self) -> None:
        super().take_whole()
        self.test = None

    def describe(self) -> str:
        return super().describe() + ("" if self.test is None else f"; the test is of {self.test}")
