"""Your own images, of any size: folders of classes or a single flat folder, such for each split, a list, or Arrow."""

from pathlib import Path
from typing import Any, Literal

from pydantic import DirectoryPath, FilePath, PositiveFloat

from ..engine import Side
from .image_files import colour
from .image_splits import LabelledImages, read_labelled
from .image_store import Memory
from .images import ImageDataModule


class ImageFolderDataModule(ImageDataModule):
    """Images in `root/<class>/` or `root/<split>/<class>/`; of one class, in `root` or `root/<split>`; or a list.

    `test`, another folder, list or file, is the test split; without it the one that comes with `root`, or a part of it.
    `channels` is 1 (grey) or 3 (colour); transparent pixels show the colour `background`. Images are resized to `size`
    pixels a side. `memory` says where they are kept: "auto", "disk", or at most so many GB in memory. Unreadable,
    hidden and other files are logged and skipped.
    """

    def __init__(
        self,
        root: DirectoryPath | FilePath,
        test: DirectoryPath | FilePath | None = None,
        size: Side = 16,
        channels: Literal[1, 3] = 3,
        memory: Literal["auto", "disk"] | PositiveFloat = "auto",
        background: str = "white",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        colour(background)  # raises RefusedError if it is not a colour
        self.root, self.test = Path(root), None if test is None else Path(test)
        self.size, self.channels, self.background = size, channels, background
        self.memory: Memory = memory

    def take_whole(self) -> None:
        super().take_whole()
        self.test = None

    def load_images(self) -> LabelledImages:
        shape, whole = (self.channels, self.size, self.size), self.test_fraction == 1
        classes = self.trained.get("class_names", ()) if whole else None
        options: dict[str, Any] = {"one_class": True, "classes": classes, "test": self.test, "memory": self.memory}
        return read_labelled(self.root, shape, self.background, self.folds, **options)
