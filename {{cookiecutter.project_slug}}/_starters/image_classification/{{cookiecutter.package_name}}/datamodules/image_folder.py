"""Your own images, of any size: one folder per class, one folder per split with class folders inside, or a list."""

from pathlib import Path
from typing import Any, Literal

from pydantic import DirectoryPath, FilePath

from ..engine import Side
from .image_splits import LabelledImages, read_labelled
from .images import ImageDataModule


class ImageFolderDataModule(ImageDataModule):
    """Images in `root/<class>/` or `root/<split>/<class>/`, or of the list `root`; `channels`: 1 (grey) or 3 (colour).

    `test`, another folder or list, is the test split; without it the one that comes with `root`, or a part of it.
    Images are resized to `size` pixels a side, read once and kept in memory: 12 kB per image of 3×32×32. Unreadable
    files, hidden files and files of other types are logged and skipped. `split_folders` says which folders are splits.
    """

    def __init__(
        self,
        root: DirectoryPath | FilePath,
        test: DirectoryPath | FilePath | None = None,
        size: Side = 32,
        channels: Literal[1, 3] = 3,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root, self.test = Path(root), None if test is None else Path(test)
        self.size, self.channels = size, channels

    def take_whole(self) -> None:
        super().take_whole()
        self.test = None

    def load_images(self) -> LabelledImages:
        shape, whole = (self.channels, self.size, self.size), self.test_fraction == 1
        classes = self.trained.get("class_names", ()) if whole else None
        return read_labelled(self.root, shape, self.background, self.folds, classes=classes, test=self.test)
