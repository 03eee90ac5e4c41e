"""Your own images, of any size: folders of classes, folders of splits with such inside, a list, or Arrow files."""

from pathlib import Path
from typing import Any, Literal

from pydantic import DirectoryPath, FilePath, PositiveFloat

from ..engine import Side, refusal
from .image_splits import LabelledImages, read_labelled
from .image_store import Memory
from .images import ImageDataModule
from .multilabel import read_multilabel


class ImageFolderDataModule(ImageDataModule):
    """Images in `root/<class>/` or `root/<split>/<class>/`, or of `root`, a list or Arrow; `channels`: 1 (grey) or 3.

    `test`, another folder, list or file, is the test split; without it the one that comes with `root`, or a part of it.
    Images are resized to `size` pixels a side. With `memory` "auto", what fits into half of the free memory is kept
    there, 3 kB per image of 3×32×32, and the others are read from disk as they are needed; "disk": all are; a number:
    at most so many GB are kept. Unreadable files, hidden files and files of other types are logged and skipped.

    With `multilabel`, an image has any number of labels: `root` is a list, and its column label holds names joined by
    the `separator`, a JSON list has lists of names, and an image may be in several rows.
    """

    def __init__(
        self,
        root: DirectoryPath | FilePath,
        test: DirectoryPath | FilePath | None = None,
        size: Side = 32,
        channels: Literal[1, 3] = 3,
        memory: Literal["auto", "disk"] | PositiveFloat = "auto",
        multilabel: bool = False,
        separator: str = "|",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root, self.test = Path(root), None if test is None else Path(test)
        self.size, self.channels = size, channels
        self.memory: Memory = memory
        self.multilabel, self.separator = multilabel, separator
        if not separator:
            raise refusal("datamodule.separator", separator, "expected a text between labels, such as '|'")
        if multilabel and self.balance:
            why = "an image with several labels has no one class to draw by; expected model.class_weights=balanced"
            raise refusal("datamodule.balance", self.balance, why)

    def take_whole(self) -> None:
        super().take_whole()
        self.test = None

    def load_images(self) -> LabelledImages:
        shape, whole = (self.channels, self.size, self.size), self.test_fraction == 1
        classes = self.trained.get("class_names", ()) if whole else None
        options: dict[str, Any] = {"classes": classes, "test": self.test, "memory": self.memory}
        if self.multilabel:
            return read_multilabel(self.root, shape, self.background, self.separator, **options)
        return read_labelled(self.root, shape, self.background, self.folds, **options)
