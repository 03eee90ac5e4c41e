"""Your own pictures: a folder for each class, PNG or JPEG, of any sizes."""

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import DirectoryPath

from ..errors import RefusedError
from ..front_door.values import Pixels
from ..run_folder.folder import log
from .images import ImageDataModule, Pictures
from .pictures import SUFFIXES, picture_files, read_pictures


class ImageFolderDataModule(ImageDataModule):
    """Pictures below `root/<class>/`, resized to `size` pixels a side; `channels` is 1 (grey) or 3 (colour).

    They are read once and kept in memory: 12 kB a picture of 3×32×32. An unreadable file is named and left out.
    """

    def __init__(self, root: DirectoryPath, size: Pixels = 32, channels: Literal[1, 3] = 3, **options: Any) -> None:
        super().__init__(**options)
        self.root, self.size, self.channels = Path(root), size, channels

    def load_pictures(self) -> Pictures:
        if not self.root.is_dir():
            raise RefusedError(f"datamodule.root={self.root}: no such folder; it holds one folder for each class")
        files = {folder.name: picture_files(folder) for folder in sorted(self.root.iterdir()) if folder.is_dir()}
        files = {name: paths for name, paths in files.items() if paths}
        if len(files) < 2:
            raise RefusedError(
                f"datamodule.root={self.root}: {len(files)} folders with {', '.join(SUFFIXES)} files; "
                "expected one for each of at least 2 classes"
            )
        class_of = {path: number for number, paths in enumerate(files.values()) for path in paths}
        readable, images, unreadable = read_pictures(list(class_of), (self.channels, self.size, self.size))
        for problem in unreadable:
            log.warning(f"Left out: {problem}")
        ids = [path.relative_to(self.root).as_posix() for path in readable]
        return Pictures(images, torch.tensor([class_of[path] for path in readable]), list(files), ids)
