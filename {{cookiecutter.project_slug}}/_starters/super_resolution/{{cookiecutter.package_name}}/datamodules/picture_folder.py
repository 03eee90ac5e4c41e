"""Your own pictures: a folder of PNG or JPEG files of any sizes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import DirectoryPath
from torch import Tensor

from ..errors import RefusedError
from ..run_folder.folder import log
from .pictures import SUFFIXES, UNREADABLE, as_tensor, picture_files, read_pixels, unreadable
from .regions import RegionDataModule


class PictureFolderDataModule(RegionDataModule):
    """Pictures below `root`, as good as you have them: the low ones are made of them.

    Their regions are kept in memory, 3 bytes a pixel. An unreadable file is named and left out.
    """

    def __init__(self, root: DirectoryPath, **options: Any) -> None:
        super().__init__(**options)
        self.root = Path(root)

    def load_pictures(self) -> Iterator[tuple[str, Tensor]]:
        if not self.root.is_dir():
            raise RefusedError(f"datamodule.root={self.root}: no such folder; it holds your pictures")
        files = picture_files(self.root)
        if not files:
            raise RefusedError(f"datamodule.root={self.root}: no {', '.join(SUFFIXES)} file in this folder")
        for file in files:
            try:
                picture = as_tensor(read_pixels(file, 3))
            except UNREADABLE as error:
                log.warning(f"Left out: {unreadable(file, error)}")
                continue
            yield file.relative_to(self.root).as_posix(), picture
