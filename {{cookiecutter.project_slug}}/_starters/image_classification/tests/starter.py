"""What the tests need to know of this task: files as a user would bring them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

CLASSES = ("zero", "one", "two")


def write_own_data(folder: Path, each: int = 40) -> Path:
    """Real scans of three digits as PNG and JPEG files of several sizes, a folder for each class, one file broken."""
    digits: Any = load_digits()
    for target, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number, scan in enumerate(digits.images[digits.target == target][:each]):
            picture = Image.fromarray((scan * 255 / 16).astype(np.uint8))
            suffix = "png" if number % 2 else "jpg"
            picture.resize((8 + number % 9, 12)).save(folder / name / f"{number:03}.{suffix}")
    (folder / CLASSES[0] / "broken.png").write_bytes(b"\x89PNG is not all it takes")
    return folder
