"""Your own table: a CSV or Parquet file with a column to predict."""

from pathlib import Path
from typing import Any

from pydantic import FilePath

from .tables import read_table
from .tabular import Table, TabularDataModule


class TableDataModule(TabularDataModule):
    """Rows of the file `root`: CSV (UTF-8; `,`, `;` or tab), TSV or Parquet. It is read once and kept in memory."""

    def __init__(self, root: FilePath, **options: Any) -> None:
        super().__init__(**options)
        self.root = Path(root)

    def load_table(self) -> Table:
        return Table(read_table(self.root), self.root)
