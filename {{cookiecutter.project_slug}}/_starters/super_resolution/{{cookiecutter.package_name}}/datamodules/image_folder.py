"""Your own images: a folder of files of any sizes, or such folders of train, val and test."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import DirectoryPath
from torch import Tensor

from .image_files import (
    UNREADABLE,
    Remarks,
    as_tensor,
    colour,
    composited,
    decode,
    image_files,
    left_out,
    say,
    unreadable,
)
from .image_splits import split_folders
from .regions import RegionDataModule


class ImageFolderDataModule(RegionDataModule):
    """Images below `root`, as good as you have them: the low ones are made of them.

    Their regions are kept in memory, 3 bytes a pixel. Where the folders in `root` are train, val and test, these are
    the splits. What is transparent shows `background`, a colour. Files that can't be read are named and left out.
    """

    def __init__(self, root: DirectoryPath, background: str = "white", **options: Any) -> None:
        super().__init__(**options)
        colour(background)  # refused where it is none
        self.root, self.background = Path(root), background

    def load_images(self) -> Iterator[tuple[str, Tensor]]:
        found = image_files(self.root, "datamodule.root")
        splits = split_folders(found, with_classes=False)
        problems, remarks = [], Remarks(self.background)
        for file in found.images:
            try:
                image = decode(file)
            except UNREADABLE as error:
                problems.append(unreadable(file, error))
                continue
            remarks.add(image)
            name = file.relative_to(self.root).as_posix()
            if splits:
                self.given[name] = next(split for split, top in splits.items() if top in file.parents)
            yield name, as_tensor(composited(image, 3, self.background))
        say([*left_out(found, problems), *remarks.lines()])
