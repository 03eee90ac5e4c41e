"""Find image files, read them and arrays as tensors of one shape; say which are left out."""

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..engine import RefusedError, log, refusal

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # of Pillow's many others some start programs
# Raised for files that are no images, or no whole ones.
UNREADABLE = (
    OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # fmt: skip
MODES = {1: "L", 3: "RGB"}
# Beside names that begin with a dot: what systems, cameras and archives leave in folders, in lower case.
SYSTEM_NAMES = {
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__",
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
}  # fmt: skip
NAMED = 5  # files that are named where many are left out

# Pixels


class Decoded(NamedTuple):
    """An upright image (L or RGB, 8 bits a channel), its alpha (L) where it is transparent, its colour profile."""

    pixels: Image.Image
    alpha: Image.Image | None
    profile: bytes | None
    reduced: bool  # from more bits a channel
    dark: bool = False  # of 16 bits, of which the highest are not used


def decode(path: Path) -> Decoded:
    """Read one image file, the first frame of several; cameras note how they were held, and it is turned upright.

    Raises one of UNREADABLE where the file is no whole image, or unpacks to over 89 million pixels, Pillow's limit.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=FORMATS) as image:
                bits = re.search(r"\b(?!BGR)[A-Z]+;(12|16|32)", str(image.tile))
                profile = image.info.get("icc_profile")
                dark = image.mode.startswith("I;16") and 0 < np.asarray(image).max() < 4096
                pixels, alpha = _plain(ImageOps.exif_transpose(image), 4095 if bits and bits[1] == "12" else 65535)
        except (*UNREADABLE, MemoryError):
            raise
        except Exception as error:  # a broken file can lead a decoder anywhere
            raise ValueError(f"{type(error).__name__}: {error}") from error
    return Decoded(pixels, alpha, profile, reduced=bits is not None, dark=bool(dark and bits and bits[1] == "16"))


def _plain(image: Image.Image, white: int) -> tuple[Image.Image, Image.Image | None]:
    """Any of Pillow's modes as L or RGB, and alpha; `white` is the highest value of a mode of 16 bits."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        alpha = Image.fromarray(np.where(values == image.info.get("transparency", -1), 0, 255).astype(np.uint8))
        grey = Image.fromarray(np.round(values.clip(max=white) * (255 / white)).astype(np.uint8))
    elif image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(f"floats from {values.min():g} to {values.max():g}; expected 0 to 1, or 8 or 16 bits")
        return Image.fromarray(np.round(values * 255).astype(np.uint8)), None
    elif image.mode == "I":
        raise ValueError("32 bits a channel, of which none says what is white; convert it to 8 or 16")
    elif image.has_transparency_data:
        whole = image.convert("RGBA")
        grey, alpha = whole.convert("RGB"), whole.getchannel("A")
    else:
        return image.convert("L" if image.mode in ("1", "L") else "RGB"), None
    return grey, alpha if np.asarray(alpha).min() < 255 else None


def colour(background: str) -> tuple[int, ...]:
    """Red, green and blue of a colour's name. Raises RefusedError where it is none."""
    try:
        rgb = ImageColor.getrgb(background)
    except ValueError:
        rgb = ()
    if len(rgb) != 3:
        why = "expected a colour such as white, black or '#7f7f7f'"
        raise refusal("datamodule.background", background, why, ImageColor.colormap, background)
    return rgb


def composited(image: Decoded, channels: int, background: str) -> Image.Image:
    """Grey where `channels` is 1, colour where 3; what is transparent shows the colour `background`."""
    pixels = image.pixels
    if image.alpha is not None:
        ground = Image.new("RGB", pixels.size, colour(background))
        pixels = Image.composite(pixels.convert("RGB"), ground, image.alpha)
    return pixels.convert(MODES[channels])


def read_pixels(path: Path, channels: int, background: str = "white") -> Image.Image:
    """One image as it is, upright and composited. Raises as `decode` does."""
    return composited(decode(path), channels, background)


def as_tensor(image: Image.Image) -> Tensor:
    """Bytes (C, H, W)."""
    pixels = np.asarray(image)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1).copy()).permute(2, 0, 1)


def unreadable(path: Path, error: Exception) -> str:
    """The line for a file that raised one of UNREADABLE."""
    return f"{path} can't be read as an image ({type(error).__name__}: {error})"


class Remarks:
    """Counts what is done to images so that they can be read, for one line of the log each."""

    def __init__(self, background: str = "white") -> None:
        self.composited, self.counts = f"composited on {background} where they are transparent", Counter[str]()

    def add(self, image: Decoded) -> None:
        self.counts.update(["reduced to 8 bits a channel"] if image.reduced else [])
        self.counts.update(["of 16 bits that use less than a sixteenth of them: nearly black"] if image.dark else [])
        self.counts.update([self.composited] if image.alpha else [])

    def lines(self) -> list[str]:
        return [f"Images {remark}: {count:,}" for remark, count in self.counts.items()]


class Read(NamedTuple):
    """The readable files, their images (N, C, H, W), a line for each file that can't be read, and remarks."""

    files: list[Path]
    images: Tensor
    problems: list[str]
    remarks: Remarks


def read_images(paths: Sequence[Path], shape: Sequence[int], background: str = "white") -> Read:
    """Read image files as floats in [0, 1], each resized to `shape` (C, H, W)."""
    channels, height, width = shape
    readable, problems, remarks = [], [], Remarks(background)
    images = torch.empty(len(paths), *shape)
    for path in paths:
        try:
            image = decode(path)
        except UNREADABLE as error:
            problems.append(unreadable(path, error))
            continue
        small = composited(image, channels, background).resize((width, height), Image.Resampling.BILINEAR)
        images[len(readable)] = as_tensor(small).float() / 255
        readable.append(path)
        remarks.add(image)
    return Read(readable, images[: len(readable)], problems, remarks)


def check_memory(key: str, value: object, count: int, shape: Sequence[int]) -> None:
    """Raises RefusedError where `count` images of `shape` (C, H, W), and a copy of them, don't fit into memory."""
    needed, free = 2 * 4 * count * int(np.prod(shape, dtype=object)), psutil.virtual_memory().available
    if needed > free:
        size = "x".join(map(str, shape))
        why = f"{count:,} images of {size} take {needed / 1e9:,.1f} GB of memory; {free / 1e9:,.1f} GB are free"
        raise refusal(key, value, why)


# Folders


class Folder(NamedTuple):
    """What lies below `root`, each in order: visible folders, image files, other files; and what is hidden."""

    root: Path
    folders: list[Path]
    images: list[Path]
    others: list[Path]
    hidden: list[Path]  # folders too, which are not entered


def look_into(root: Path) -> Folder:
    """Look for images below `root`. Links are followed, but not to a folder that holds them."""
    found = Folder(root, [], [], [], [])
    real = root.resolve()
    waiting = [(root, frozenset((real, *real.parents)))]
    while waiting:
        folder, above = waiting.pop()
        try:
            for path in folder.iterdir():
                if path.name.startswith(".") or path.name.lower() in SYSTEM_NAMES:
                    found.hidden.append(path)
                elif path.is_dir() and (real := path.resolve()) not in above:
                    found.folders.append(path)
                    waiting.append((path, above | {real}))
                else:
                    is_image = path.suffix.lower() in SUFFIXES and path.is_file()
                    (found.images if is_image else found.others).append(path)
        except OSError:  # no permission
            found.others.append(folder)
    for paths in (found.folders, found.images, found.others, found.hidden):
        paths.sort()
    return found


def image_files(root: Path, key: str) -> Folder:
    """Look for images below `root`. Raises RefusedError, with `key`, where there is none."""
    if not root.is_dir():
        raise RefusedError(f"{key}={root}: no such folder; it holds your images", key)
    found = look_into(root)
    if not found.images:
        others = f"; it holds {some(found.others, root)}" if found.others else ""
        raise RefusedError(f"{key}={root}: no image file in this folder ({', '.join(SUFFIXES)}){others}", key)
    return found


def some(paths: Sequence[Path], root: Path) -> str:
    """The first names of many."""
    names = [path.relative_to(root).as_posix() for path in paths[:NAMED]]
    return ", ".join(names) + (", …" if len(paths) > NAMED else "")


def left_out(found: Folder, problems: Sequence[str] = ()) -> list[str]:
    """Lines for the log that count what is left out and name the first: hidden, no images, and `problems`.

    Of these each has a line already.
    """
    kinds = {"hidden or of the system": found.hidden, "no images": found.others}
    lines = [f"Left out as {kind}: {len(each):,} ({some(each, found.root)})" for kind, each in kinds.items() if each]
    lines += [f"Left out: {problem}" for problem in problems[:NAMED]]
    if len(problems) > NAMED:
        lines.append(f"Left out for such reasons: {len(problems) - NAMED:,} more, {len(problems):,} in all")
    return lines


def say(lines: Iterable[str]) -> None:
    """Write lines to the log: once nothing can be refused any more, for a refusal is one line."""
    for line in lines:
        (log.warning if line.startswith("Left out") else log.info)(line)


# Inputs of predict.py


def read_inputs(path: Path, shape: Sequence[int], background: str = "white") -> tuple[list[str], Tensor, list[str]]:
    """Names, images (N, C, H, W) and the unreadable ones of an image, a folder of images, or an .npy file."""
    if path.suffix.lower() == ".npy":
        images = _read_array(path, shape)
        return [f"{path.name}[{i}]" for i in range(len(images))], images, []
    found = image_files(path, "input") if path.is_dir() else Folder(path.parent, [], [path], [], [])
    check_memory("input", path, len(found.images), shape)
    files, images, problems, remarks = read_images(found.images, shape, background)
    if files:
        say([*left_out(found), *remarks.lines()])
    return [file.relative_to(found.root).as_posix() for file in files], images, problems


def _read_array(path: Path, shape: Sequence[int]) -> Tensor:
    """Images (N, C, H, W), or (N, H, W) and (H, W) where C is 1: bytes 0–255, or floats in [0, 1]."""
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
    if not np.issubdtype(array.dtype, np.floating) or not (array.min() >= 0 and array.max() <= 1):  # nor NaN
        raise RefusedError(
            f"input={path}: {array.dtype} from {array.min()} to {array.max()}; expected uint8, or floats in [0, 1]"
        )
    return torch.from_numpy(array.reshape(-1, *shape).astype(np.float32))
