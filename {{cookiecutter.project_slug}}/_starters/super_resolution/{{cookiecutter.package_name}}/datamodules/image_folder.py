"""Your own images, of any size: one folder, one folder per split, a list, or Arrow files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import DirectoryPath, FilePath
from torch import Tensor

from ..engine import RefusedError
from .image_files import (
    Decoded,
    Remarks,
    as_tensor,
    colour,
    composited,
    decoded,
    in_srgb,
    log_lines,
    pixel_count,
    unread,
)
from .image_lists import UNSPLIT
from .image_sources import find_images
from .memory import free_memory
from .regions import RegionDataModule


class ImageFolderDataModule(RegionDataModule):
    """Images in `root`, a folder, list or Arrow file, at the best quality you have: the low images are made from them.

    Their regions are kept in memory, 3 bytes per pixel. If the folders in `root` are train, val and test, they are the
    splits; `test`, another folder, list or file, is the test split. Transparent pixels show the colour `background`.
    Unreadable files are logged and skipped.
    """

    def __init__(
        self,
        root: DirectoryPath | FilePath,
        test: DirectoryPath | FilePath | None = None,
        background: str = "white",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        colour(background)  # raises RefusedError if it is not a colour
        self.root, self.test, self.background = Path(root), None if test is None else Path(test), background

    def take_whole(self) -> None:
        super().take_whole()
        self.test = None

    def load_images(self) -> Iterator[tuple[str, Tensor]]:
        found = find_images(self.root, self.test, classes="none")
        split_of = {path: part.split for part in found.parts for path in part.files}
        self.origins = found.origins
        self._check_memory([*split_of])
        problems: list[str] = []
        remarks = Remarks(self.background)
        for file, pixels in decoded(split_of, problems, self._pixels, remarks):
            name = found.names[file]
            if split_of[file] != UNSPLIT:
                self.split_of[name] = split_of[file]
            yield name, pixels
        log_lines([*found.lines, *unread(problems), *remarks.lines()])

    def _check_memory(self, files: list[Path]) -> None:
        """Raises RefusedError if the images, and their regions beside them, do not fit into memory."""
        needed, free = 2 * 3 * sum(map(pixel_count, files)), free_memory()
        if needed > free:
            why = f"{len(files):,} images take {needed / 1e9:,.1f} GB of memory; {free / 1e9:,.1f} GB are free"
            raise RefusedError(f"datamodule.root={self.root}: {why}; give fewer or smaller images", "datamodule.root")

    def _pixels(self, image: Decoded) -> Tensor:
        return as_tensor(composited(in_srgb(image), 3, self.background))
