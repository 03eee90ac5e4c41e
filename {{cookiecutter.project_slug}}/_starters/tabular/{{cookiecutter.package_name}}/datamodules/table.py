"""Your own table: a CSV or Parquet file with a column to predict."""

from pathlib import Path
from typing import Any

from pydantic import FilePath

from .table_files import read_table
from .tabular import Table, TabularDataModule


class TableDataModule(TabularDataModule):
    """Rows of the file `root`: CSV (UTF-8; `,`, `;` or tab), TSV or Parquet. It is read once and kept in memory.

    With `test`, another file, all rows of it test, and those of `root` train and validate.
    """

    def __init__(self, root: FilePath, test: FilePath | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.root, self.test = Path(root), None if test is None else Path(test)

    def load_table(self) -> Table:
        return Table(read_table(self.root), self.root)

    def load_test_table(self) -> Table | None:
        return None if self.test is None else Table(read_table(self.test, "datamodule.test"), self.test)

    def take_whole(self) -> None:
        super().take_whole()
        self.test = None
