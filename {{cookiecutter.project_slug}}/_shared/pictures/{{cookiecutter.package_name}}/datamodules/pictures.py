"""Read picture files and arrays as tensors of one shape; say which can't be read."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..errors import RefusedError

SUFFIXES = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")  # of its many others some start programs
BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
MODES = {1: "L", 3: "RGB"}


def read_picture(path: Path, shape: Sequence[int]) -> Tensor:
    """One picture as float in [0, 1] of `shape` (C, H, W): grey where C is 1, resized to H × W.

    Raises OSError or UnidentifiedImageError where the file is no whole picture, DecompressionBombWarning or -Error
    where a small file unpacks to over 89 million pixels, Pillow's limit.
    """
    channels, height, width = shape
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        picture = Image.open(path, formats=FORMATS)
    with picture:
        pixels = np.asarray(picture.convert(MODES[channels]).resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels.reshape(height, width, channels).copy()).permute(2, 0, 1).float() / 255


def read_pictures(paths: Sequence[Path], shape: Sequence[int]) -> tuple[list[Path], Tensor, list[str]]:
    """The readable files, their pictures (N, C, H, W), and a line for each file that can't be read."""
    readable, images, unreadable = [], [], []
    for path in paths:
        try:
            images.append(read_picture(path, shape))
            readable.append(path)
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError, *BOMB) as error:
            unreadable.append(f"{path} can't be read as a picture ({type(error).__name__}: {error})")
    return readable, torch.stack(images) if images else torch.empty(0, *shape), unreadable


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
