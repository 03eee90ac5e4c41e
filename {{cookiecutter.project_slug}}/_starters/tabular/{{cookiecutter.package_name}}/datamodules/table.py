"""Your own table: a CSV or Parquet file with a column to predict."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import FilePath

from .table_files import read_table
from .tabular import Table, TabularDataModule

MAX_HASHED = 4 * 10**9  # bytes of files whose content the fingerprint is of; of more, names, sizes and times


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

    @property
    def fingerprint_of(self) -> str:
        """What the fingerprint is of, for provenance.json."""
        size = sum(file.stat().st_size for file in self._files())
        return "content" if size <= MAX_HASHED else "names, sizes and times of files"

    def fingerprint(self) -> str:
        """Return the SHA-256 of the data of all splits; of large files that of names, sizes, times and rows."""
        if self.fingerprint_of == "content":
            return super().fingerprint()
        facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self._files()]
        digest = hashlib.sha256(repr((facts, self.facts)).encode())
        for name, rows in self.ids.items():
            digest.update(name.encode() + np.asarray(rows, np.int64).tobytes())
        return digest.hexdigest()

    def _files(self) -> list[Path]:
        return [self.root] if self.test is None else [self.root, self.test]

    def take_whole(self) -> None:
        super().take_whole()
        self.test = None
