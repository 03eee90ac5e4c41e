"""Your own text: one file, or all text files in a folder, in UTF-8."""

import os
from pathlib import Path, PurePath
from typing import Any

from ..engine import RefusedError, log, refusal
from .documents import Document, whole_documents
from .tokens import TokenDataModule


class TextDataModule(TokenDataModule):
    """The file `root`, or the files in the folder `root` whose names match `pattern` (`*.md`), except hidden ones.

    Files that are not UTF-8 text are logged and skipped. Fewer than ten files are cut: their start trains, their end
    tests.
    """

    def __init__(self, root: str, pattern: str = "*", **options: Any) -> None:
        super().__init__(**options)
        parts = PurePath(pattern).parts
        two_stars = any("**" in part and part != "**" for part in parts)
        if not parts or ".." in parts or two_stars or PurePath(pattern).is_absolute():
            raise refusal("datamodule.pattern", pattern, "expected a pattern of names below the root, such as *.md")
        self.root, self.pattern = Path(root), pattern

    def load_documents(self) -> list[Document]:
        if not self.root.exists():
            raise RefusedError(f"datamodule.root={self.root}: no such file or folder", "datamodule.root")
        paths = self._find_files() if self.root.is_dir() else [self.root]
        if not paths:
            raise RefusedError(f"datamodule.root={self.root}: no file {self.pattern} below it", "datamodule.root")
        documents = whole_documents(paths, self.root)
        if not documents:
            finding = f"none of its {len(paths)} files is" if self.root.is_dir() else "it is not"
            raise RefusedError(f"datamodule.root={self.root}: {finding} UTF-8 text", "datamodule.root")
        return documents

    def _find_files(self) -> list[Path]:
        """Find the files in the folder that match the pattern, also behind links; log the number of hidden ones."""
        files, hidden, seen = [], [], set()
        pattern = self.pattern.removeprefix("**/")  # all folders are searched anyway
        for folder, folders, names in os.walk(self.root, followlinks=True):
            place = Path(folder)
            if (real := os.path.realpath(folder)) in seen:  # a link to a folder already visited
                folders.clear()
                continue
            seen.add(real)
            hidden += [place / name for name in [*folders, *names] if is_hidden(name)]
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            files += [place / name for name in names if not is_hidden(name) and (place / name).is_file()]
        if hidden:
            some = ", ".join(path.relative_to(self.root).as_posix() for path in sorted(hidden)[:3])
            log.info(f"Left out: {len(hidden)} hidden files and folders: {some}{', …' if len(hidden) > 3 else ''}")
        return sorted(path for path in files if path.relative_to(self.root).match(pattern))


def is_hidden(name: str) -> bool:
    """Return True for files and folders that no user made, such as .ipynb_checkpoints and a Mac's __MACOSX."""
    return name.startswith(".") or name in ("__MACOSX", "__pycache__")
