"""Find image files and read them, or arrays, as tensors of one shape; report the files that are left out."""

import io
import re
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image, ImageCms, ImageColor, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..engine import RefusedError, log, refusal
from .image_packs import content
from .memory import cores

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # some of Pillow's other formats start external programs
# Exceptions that Pillow raises for files that are not images, or not complete.
UNREADABLE = (
    OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # fmt: skip
MODES = {1: "L", 3: "RGB"}
# Lower-case names that operating systems, cameras and archives leave behind, besides those that start with a dot.
SYSTEM_NAMES = {
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+contents", "__pycache__",
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
}  # fmt: skip
# Colours by which a profile is told from sRGB.
PROBE = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 100, 50], [90, 90, 90]]], np.uint8))
MAX_NAMED = 5  # files named in a message
MAX_THREADS = 8  # images decoded at a time: large ones take hundreds of megabytes
T = TypeVar("T")

# Pixels


class Decoded(NamedTuple):
    """An upright image (L or RGB, 8 bits per channel), its alpha (L) if it is transparent, and its colour profile.

    CMYK with a profile has already been converted to sRGB: no other RGB has the colours of such an image.
    """

    pixels: Image.Image
    alpha: Image.Image | None
    profile: bytes | None
    reduced: bool  # from more than 8 bits per channel
    dark: bool = False  # 16 bits, of which the highest are unused
    converted: bool = False  # from CMYK to sRGB


def decode(path: Path) -> Decoded:
    """Read one image file (its first frame), turned upright as its EXIF orientation says.

    Raises one of UNREADABLE if the file is not a complete image, or has over 89 million pixels, which is Pillow's
    limit.
    """
    with pillows_warnings():
        return _decode(path)


@contextmanager
def pillows_warnings() -> Iterator[None]:
    """Ignore Pillow's warnings, except that an image is too large. It holds in all threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def pixel_count(path: Path) -> int:
    """Return the number of pixels of an image file, from its header; 0 if it can't be read."""
    try:
        with pillows_warnings(), Image.open(content(path), formats=FORMATS) as image:
            return image.width * image.height
    except Exception:  # a broken file can raise anything
        return 0


def _decode(path: Path) -> Decoded:
    try:
        with Image.open(content(path), formats=FORMATS) as image:
            bits = re.search(r"\b(?!BGR)[A-Z]+;(12|16|32)", str(image.tile))
            profile = image.info.get("icc_profile")
            profile = profile if isinstance(profile, bytes) else None  # a broken TIFF holds numbers
            dark = image.mode.startswith("I;16") and 0 < np.asarray(image).max() < 4096
            upright, converted = _without_cmyk(ImageOps.exif_transpose(image), profile)
            pixels, alpha = _plain(upright, 4095 if bits and bits[1] == "12" else 65535)
    except (*UNREADABLE, MemoryError):
        raise
    except Exception as error:  # a broken file can raise anything in a decoder
        raise ValueError(f"{type(error).__name__}: {error}") from error
    dark = bool(dark and bits and bits[1] == "16")
    return Decoded(pixels, alpha, None if converted else profile, bits is not None, dark, converted)


def _without_cmyk(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bool]:
    """Convert CMYK to sRGB by its profile, if it has one that can be used; return the image and whether it was."""
    transform = srgb_transform(profile, "CMYK") if image.mode == "CMYK" else None
    if transform is None:
        return image, False
    return transform.apply(image), True


def _plain(image: Image.Image, white: int) -> tuple[Image.Image, Image.Image | None]:
    """Convert any of Pillow's modes to L or RGB, and alpha; `white` is the highest value of a 16-bit mode."""
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
        raise ValueError("32 bits per channel do not say which value is white; convert the image to 8 or 16")
    elif image.has_transparency_data:
        whole = image.convert("RGBA")
        grey, alpha = whole.convert("RGB"), whole.getchannel("A")
    else:
        return image.convert("L" if image.mode in ("1", "L") else "RGB"), None
    return grey, alpha if np.asarray(alpha).min() < 255 else None


def colour(background: str) -> tuple[int, ...]:
    """Parse a colour into red, green and blue. Raises RefusedError if it is not a colour."""
    try:
        rgb = ImageColor.getrgb(background)
    except ValueError:
        rgb = ()
    if len(rgb) != 3:
        why = "expected a colour such as white, black or '#7f7f7f'"
        raise refusal("datamodule.background", background, why, ImageColor.colormap, background)
    return rgb


def composited(image: Decoded, channels: int, background: str) -> Image.Image:
    """Convert to grey (`channels` 1) or colour (3), with the colour `background` behind transparent pixels."""
    pixels = image.pixels
    if image.alpha is not None:
        ground = Image.new("RGB", pixels.size, colour(background))
        pixels = Image.composite(pixels.convert("RGB"), ground, image.alpha)
    return pixels.convert(MODES[channels])


def in_srgb(image: Decoded) -> Decoded:
    """Convert pixels to sRGB, unless they have no colour profile that differs from it."""
    transform = transform_of(image)
    if transform is None:
        return image
    pixels = transform.apply(image.pixels.convert(transform.input_mode)).convert(image.pixels.mode)
    return image._replace(pixels=pixels, profile=None)


def transform_of(image: Decoded) -> ImageCms.ImageCmsTransform | None:
    """Return the transform to sRGB by the profile of an image, for grey or RGB; None if it needs none."""
    if image.profile and image.profile[16:20] == b"GRAY":
        return srgb_transform(image.profile, "L")
    return srgb_transform(image.profile) if image.pixels.mode == "RGB" else None


@lru_cache(maxsize=16)
def srgb_transform(profile: bytes | None, mode: str = "RGB") -> ImageCms.ImageCmsTransform | None:
    """Return the transform of pixels of `mode`, RGB, L or CMYK, to sRGB.

    None if it changes nothing, or if the profile can't be used, such as one for pixels of another kind.
    """
    if profile is None:
        return None
    probe = PROBE.convert(mode)
    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, mode, "RGB")
        shown = np.asarray(transform.apply(probe))
    except (ImageCms.PyCMSError, OSError):
        return None
    return transform if np.abs(shown.astype(int) - np.asarray(probe.convert("RGB"))).max() > 2 else None


def read_pixels(path: Path, channels: int, background: str = "white") -> Image.Image:
    """Read one image at its own size, upright and composited. Raises as `decode` does."""
    return composited(decode(path), channels, background)


def as_tensor(image: Image.Image) -> Tensor:
    """Convert to a uint8 tensor (C, H, W)."""
    pixels = np.asarray(image)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1).copy()).permute(2, 0, 1)


class Remarks:
    """Counts of the conversions that images needed, for the log."""

    def __init__(self, background: str = "white") -> None:
        self.composited, self.counts = f"composited on {background} where they are transparent", Counter[str]()

    def traits(self, image: Decoded) -> list[str]:
        """Return the conversions that an image needs."""
        converted = image.converted or transform_of(image) is not None
        traits = {
            "reduced to 8 bits per channel": image.reduced,
            "of 16 bits, but nearly black (below a sixteenth of the range)": image.dark,
            self.composited: image.alpha is not None,
            "converted to sRGB from the colour profile in their file": converted,
        }
        return [trait for trait, present in traits.items() if present]

    def lines(self) -> list[str]:
        return [f"Images {remark}: {count:,}" for remark, count in self.counts.items()]


def decoded(
    paths: Iterable[Path], problems: list[str], convert: Callable[[Decoded], T], remarks: Remarks
) -> Iterator[tuple[Path, T]]:
    """Read image files, some at a time in threads: yield, in their order, what `convert` makes of each image.

    Adds a message to `problems` for each that can't be read, and the conversions of the others to `remarks`.
    """

    def read(path: Path) -> tuple[list[str], T]:
        image = _decode(path)
        return remarks.traits(image), convert(image)

    def taken(path: Path, result: Future[tuple[list[str], T]]) -> Iterator[tuple[Path, T]]:
        try:
            traits, value = result.result()
        except UNREADABLE as error:
            problems.append(f"{path} can't be read as an image ({type(error).__name__}: {error})")
        else:
            remarks.counts.update(traits)
            yield path, value

    with pillows_warnings(), ThreadPoolExecutor(min(cores(), MAX_THREADS)) as pool:
        waiting: deque[tuple[Path, Future[tuple[list[str], T]]]] = deque()
        for path in paths:
            waiting.append((path, pool.submit(read, path)))
            if len(waiting) > MAX_THREADS:
                yield from taken(*waiting.popleft())
        while waiting:
            yield from taken(*waiting.popleft())


# Folders


class Folder(NamedTuple):
    """Contents of `root` at any depth, sorted: visible folders, image files and other files; and what is hidden."""

    root: Path
    folders: list[Path]
    images: list[Path]
    others: list[Path]
    hidden: list[Path]  # including folders, which are not entered


def look_into(root: Path) -> Folder:
    """Search for images in `root` at any depth. Links are followed, except to a folder that contains them."""
    contents = Folder(root, [], [], [], [])
    real = root.resolve()
    waiting = [(root, frozenset((real, *real.parents)))]
    while waiting:
        folder, above = waiting.pop()
        try:
            for path in folder.iterdir():
                if path.name.startswith(".") or path.name.lower() in SYSTEM_NAMES:
                    contents.hidden.append(path)
                elif path.is_dir() and (real := path.resolve()) not in above:
                    contents.folders.append(path)
                    waiting.append((path, above | {real}))
                else:
                    is_image = path.suffix.lower() in SUFFIXES and path.is_file()
                    (contents.images if is_image else contents.others).append(path)
        except OSError:  # no permission
            contents.others.append(folder)
    for paths in (contents.folders, contents.images, contents.others, contents.hidden):
        paths.sort()
    return contents


def image_files(root: Path, key: str) -> Folder:
    """Search for images in `root`. Raises RefusedError, which names `key`, if there are none."""
    if not root.is_dir():
        raise RefusedError(f"{key}={root}: no such folder; expected the folder with your images", key)
    contents = look_into(root)
    if not contents.images:
        others = f"; it holds {some(contents.others, root)}" if contents.others else ""
        raise RefusedError(f"{key}={root}: no image file in this folder ({', '.join(SUFFIXES)}){others}", key)
    return contents


def some(paths: Sequence[Path], root: Path) -> str:
    """Join the names of the first `paths`."""
    names = [path.relative_to(root).as_posix() for path in paths[:MAX_NAMED]]
    return ", ".join(names) + (", …" if len(paths) > MAX_NAMED else "")


def left_out(contents: Folder) -> list[str]:
    """Return log lines that count the files left out and name the first: hidden files and other files."""
    kinds = {"hidden or system files": contents.hidden, "not images": contents.others}
    return [f"Left out as {kind}: {len(each):,} ({some(each, contents.root)})" for kind, each in kinds.items() if each]


def unread(problems: Sequence[str]) -> list[str]:
    """Return log lines for files that can't be read, of which `problems` holds a message each."""
    lines = [f"Left out: {problem}" for problem in problems[:MAX_NAMED]]
    if len(problems) > MAX_NAMED:
        lines.append(f"Left out for similar reasons: {len(problems) - MAX_NAMED:,} more, {len(problems):,} in all")
    return lines


def log_lines(lines: Iterable[str]) -> None:
    """Write lines to the log. Call it after the last check, since a refusal is a single line."""
    for line in lines:
        (log.warning if line.startswith("Left out") else log.info)(line)
