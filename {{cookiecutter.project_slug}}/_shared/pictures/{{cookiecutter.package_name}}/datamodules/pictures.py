"""Read picture files and arrays as tensors of one shape; say which can't be read."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import RefusedError

SUFFIXES = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")  # of its many others some start programs
# What Pillow raises for files that are no pictures, or no whole ones.
UNREADABLE = (
    OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # fmt: skip
MODES = {1: "L", 3: "RGB"}


def read_pixels(path: Path, channels: int) -> Image.Image:
    """One picture as it is, upright (cameras note how they were held); grey where `channels` is 1, colour where 3.

    Raises one of UNREADABLE where the file is no whole picture, or unpacks to over 89 million pixels, Pillow's limit.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        picture = Image.open(path, formats=FORMATS)
    with picture:
        if picture.mode.startswith(("I", "F")):
            raise ValueError("more than 8 bits a channel; convert it to 8")
        return ImageOps.exif_transpose(picture).convert(MODES[channels])


def as_tensor(picture: Image.Image) -> Tensor:
    """Bytes (C, H, W)."""
    pixels = np.asarray(picture)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1).copy()).permute(2, 0, 1)


def unreadable(path: Path, error: Exception) -> str:
    """The line for a file that raised one of UNREADABLE."""
    return f"{path} can't be read as a picture ({type(error).__name__}: {error})"


def read_picture(path: Path, shape: Sequence[int]) -> Tensor:
    """One picture as float in [0, 1], resized to `shape` (C, H, W). Raises as `read_pixels` does."""
    channels, height, width = shape
    return as_tensor(read_pixels(path, channels).resize((width, height), Image.Resampling.BILINEAR)).float() / 255


def read_pictures(paths: Sequence[Path], shape: Sequence[int]) -> tuple[list[Path], Tensor, list[str]]:
    """The readable files, their pictures (N, C, H, W), and a line for each file that can't be read."""
    readable, images, problems = [], [], []
    for path in paths:
        try:
            images.append(read_picture(path, shape))
            readable.append(path)
        except UNREADABLE as error:
            problems.append(unreadable(path, error))
    return readable, torch.stack(images) if images else torch.empty(0, *shape), problems


def picture_files(folder: Path) -> list[Path]:
    """The PNG and JPEG files below `folder`, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def read_inputs(path: Path, shape: Sequence[int]) -> tuple[list[str], Tensor, list[str]]:
    """Names, pictures (N, C, H, W) and the unreadable ones of a picture, a folder of pictures, or an .npy file."""
    if path.suffix.lower() == ".npy":
        images = _read_array(path, shape)
        return [f"{path.name}[{i}]" for i in range(len(images))], images, []
    files = picture_files(path) if path.is_dir() else [path]
    if not files:
        raise RefusedError(f"input={path}: no {', '.join(SUFFIXES)} file in this folder")
    readable, images, unreadable = read_pictures(files, shape)
    base = path if path.is_dir() else path.parent
    return [file.relative_to(base).as_posix() for file in readable], images, unreadable


def _read_array(path: Path, shape: Sequence[int]) -> Tensor:
    """Pictures (N, C, H, W), or (N, H, W) and (H, W) where C is 1: bytes 0–255, or floats in [0, 1]."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # what the header claims is not taken from memory
    except (OSError, ValueError, EOFError) as error:
        raise RefusedError(f"input={path}: can't be read as an array ({error})") from error
    expected = "x".join(map(str, ("N", *shape)))
    size = int(np.prod(shape))
    if array.shape[-2:] != tuple(shape[1:]) or array.size == 0 or array.size % size or array.ndim > 4:
        raise RefusedError(f"input={path}: its shape is {array.shape}, the model takes {expected}")
    if array.dtype == np.uint8:
        array = array / 255
    if not np.issubdtype(array.dtype, np.floating) or array.min() < 0 or array.max() > 1:
        raise RefusedError(
            f"input={path}: {array.dtype} from {array.min()} to {array.max()}; expected uint8, or floats in [0, 1]"
        )
    return torch.from_numpy(array.reshape(-1, *shape).astype(np.float32))
