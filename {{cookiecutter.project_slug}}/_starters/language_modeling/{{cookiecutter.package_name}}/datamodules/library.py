"""Source code of Python's standard library, read from the running interpreter, so nothing is downloaded.

Source: Python Software Foundation, https://docs.python.org/3/license.html (PSF License Agreement). It differs between
versions of Python.
"""

import sysconfig
from pathlib import Path

from ..engine import RefusedError
from .documents import Document, whole_documents
from .tokens import TokenDataModule

# Tests, installed packages, and generated tables.
EXCLUDED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "pydoc_data", "__pycache__"}


class LibraryDataModule(TokenDataModule):
    """About 550 files and 10 MB of source, without tests and tables."""

    def load_documents(self) -> list[Document]:
        root = Path(sysconfig.get_path("stdlib"))
        paths = [path for path in root.rglob("*.py") if not EXCLUDED.intersection(path.relative_to(root).parts)]
        paths = [path for path in paths if path.stat().st_size]  # __init__.py is often empty
        if not paths:
            raise RefusedError(f"{root}: no source of a standard library; your own text: datamodule=text")
        return whole_documents(sorted(paths), root, copies_too=True)  # short files may be equal
