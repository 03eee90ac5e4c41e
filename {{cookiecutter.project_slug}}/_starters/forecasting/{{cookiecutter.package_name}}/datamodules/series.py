"""Your own series: a CSV or Parquet file with a column of times and a column of values."""

from pathlib import Path
from typing import Any

from pydantic import FilePath

from .panel import Panel, read_panel
from .table_files import read_table
from .windows import WindowsDataModule


class SeriesDataModule(WindowsDataModule):
    """Series in the file `root`: CSV (UTF-8; `,`, `;` or tab), TSV or Parquet. It is read once and kept in memory."""

    def __init__(self, root: FilePath, **options: Any) -> None:
        super().__init__(**options)
        self.root = Path(root)

    def load_panel(self) -> Panel:
        return read_panel(read_table(self.root), self.columns, self.root, self.gaps, whole=self.test_fraction == 1)
