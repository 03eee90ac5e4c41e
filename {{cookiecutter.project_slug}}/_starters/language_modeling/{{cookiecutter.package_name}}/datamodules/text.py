"""Your own text: a file, or all the text files of a folder, in UTF-8."""

from pathlib import Path
from typing import Any

from ..errors import RefusedError
from .documents import Document, whole_documents
from .tokens import TokenDataModule


class TextDataModule(TokenDataModule):
    """The file `root`, or the files below the folder `root` whose name fits `pattern` (`*.md`), hidden ones apart.

    A file that is no UTF-8 text is named and left out. Fewer than ten are cut: their start trains, their end tests.
    """

    def __init__(self, root: str, pattern: str = "*", **options: Any) -> None:
        super().__init__(**options)
        self.root, self.pattern = Path(root), pattern

    def load_documents(self) -> list[Document]:
        if not self.root.exists():
            raise RefusedError(f"datamodule.root={self.root}: no such file or folder", "datamodule.root")
        found = sorted(self.root.rglob(self.pattern)) if self.root.is_dir() else [self.root]
        paths = [
            path
            for path in found
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(self.root).parts)
        ]
        if not paths:
            raise RefusedError(f"datamodule.root={self.root}: no file {self.pattern} below it", "datamodule.root")
        documents = whole_documents(paths, self.root)
        if not documents:
            what = f"none of its {len(paths)} files holds" if self.root.is_dir() else "it does not hold"
            raise RefusedError(f"datamodule.root={self.root}: {what} UTF-8 text", "datamodule.root")
        return documents
