"""Your own pictures, PNG or JPEG, of any sizes: a folder for each class, or one folder without classes."""

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import DirectoryPath, PositiveInt

from ..errors import RefusedError
from ..run_folder.folder import log
from .images import ImageDataModule, Pictures
from .pictures import SUFFIXES, picture_files, read_pictures


class ImageFolderDataModule(ImageDataModule):
    """Pictures below `root/<class>/`, or all of one class in `root` itself; `channels` is 1 (grey) or 3 (colour).

    They are resized to `size` pixels a side, read once and kept in memory. An unreadable file is named and left out.
    """

    def __init__(
        self, root: DirectoryPath, size: PositiveInt = 16, channels: Literal[1, 3] = 3, **options: Any
    ) -> None:
        super().__init__(**options)
        self.root, self.size, self.channels = Path(root), size, channels

    def load_pictures(self) -> Pictures:
        files = self._files()
        class_of = {path: number for number, paths in enumerate(files.values()) for path in paths}
        readable, images, unreadable = read_pictures(list(class_of), (self.channels, self.size, self.size))
        for problem in unreadable:
            log.warning(f"Left out: {problem}")
        targets = torch.tensor([class_of[path] for path in readable], dtype=torch.long)
        fewest = 3 if self.folds is None else self.folds + 1  # one for each split, or for each fold and the test
        fewest = 0 if self.test_fraction == 1 else fewest
        for name, count in zip(files, torch.bincount(targets, minlength=len(files)).tolist(), strict=True):
            if count < fewest:
                where = self.root / name if len(files) > 1 else self.root
                raise RefusedError(
                    f"datamodule.root={self.root}: {where} has {count} pictures that can be read, too few to be split; "
                    f"expected at least {fewest} in each class"
                )
        ids = [path.relative_to(self.root).as_posix() for path in readable]
        return Pictures(images, targets, list(files), ids)

    def _files(self) -> dict[str, list[Path]]:
        """The files of each class; where no folder below `root` has any, those of `root`, as the class of its name."""
        if not self.root.is_dir():
            raise RefusedError(f"datamodule.root={self.root}: no such folder; it holds pictures, or a folder a class")
        classes = {folder.name: picture_files(folder) for folder in sorted(self.root.iterdir()) if folder.is_dir()}
        files = {name: paths for name, paths in classes.items() if paths}
        loose = [path for path in picture_files(self.root) if path.parent == self.root]
        if files and loose:
            raise RefusedError(
                f"datamodule.root={self.root}: pictures beside folders of pictures, such as {loose[0].name}; "
                "expected a folder for each class, or pictures alone"
            )
        if not files and not loose:
            raise RefusedError(f"datamodule.root={self.root}: no {', '.join(SUFFIXES)} file in this folder")
        return files or {self.root.resolve().name: loose}
