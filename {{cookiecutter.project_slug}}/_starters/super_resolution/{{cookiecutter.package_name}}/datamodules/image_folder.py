"""Your own images, of any size: one folder, or one folder per split."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import DirectoryPath
from torch import Tensor

from .image_files import Remarks, as_tensor, colour, composited, decoded, image_files, left_out, log_lines
from .image_splits import split_folders
from .regions import RegionDataModule


class ImageFolderDataModule(RegionDataModule):
    """Images in `root`, at the best quality you have: the low images are made from them.

    Their regions are kept in memory, 3 bytes per pixel. If the folders in `root` are train, val and test, they are the
    splits. Transparent pixels show the colour `background`. Unreadable files are logged and skipped.
    """

    def __init__(self, root: DirectoryPath, background: str = "white", **options: Any) -> None:
        super().__init__(**options)
        colour(background)  # raises RefusedError if it is not a colour
        self.root, self.background = Path(root), background

    def load_images(self) -> Iterator[tuple[str, Tensor]]:
        contents = image_files(self.root, "datamodule.root")
        splits = split_folders(contents, with_classes=False)
        problems: list[str] = []
        remarks = Remarks(self.background)
        for file, image in decoded(contents.images, problems):
            remarks.add(image)
            name = file.relative_to(self.root).as_posix()
            if splits:
                self.split_of[name] = next(split for split, top in splits.items() if top in file.parents)
            yield name, as_tensor(composited(image, 3, self.background))
        log_lines([*left_out(contents, problems), *remarks.lines()])
