"""Scans of digits as image files: what a user's own folder of images looks like."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

CLASSES = ("zero", "one", "two")


def write_own_data(path: Path, each: int = 40) -> None:
    """Write scans of three digits as PNG and JPEG in several sizes, one folder per class, one file broken."""
    digits: Any = load_digits()
    for target, name in enumerate(CLASSES):
        (path / name).mkdir(parents=True)
        for number, scan in enumerate(digits.images[digits.target == target][:each]):
            image = Image.fromarray((scan * 255 / 16).astype(np.uint8))
            suffix = "png" if number % 2 else "jpg"
            image.resize((8 + number % 9, 12)).save(path / name / f"{number:03}.{suffix}")
    (path / CLASSES[0] / "broken.png").write_bytes(b"\x89PNG is not all it takes")
