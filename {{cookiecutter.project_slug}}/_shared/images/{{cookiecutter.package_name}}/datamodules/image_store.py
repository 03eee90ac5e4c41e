"""Images of files: what fits is held in memory as bytes, the rest is read from disk, a whole batch at a time."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..engine import FailedError, RefusedError, log, refusal
from .image_files import (
    MAX_THREADS,
    UNREADABLE,
    Decoded,
    Folder,
    Remarks,
    as_tensor,
    composited,
    decode,
    decoded,
    image_files,
    in_srgb,
    left_out,
    log_lines,
    look_into,
)
from .image_packs import pack_files, placed, read_packs
from .memory import free_memory, processes_here

Memory = Literal["auto", "disk"] | float  # where images are kept; a number: at most so many GB of them in memory

MAX_CHECKED = 4 * 10**9  # bytes of files that are all read once before training; of more only what memory holds
UNCOMPRESSED = (".bmp", ".tif", ".tiff")  # as a rule
AUTO_FRACTION = 0.5  # of the free memory; the rest is for the model, for batches and for other programs


class ImageStore:
    """Images of `files`, resized to `shape` (C, H, W), indexed by the numbers of a batch (B,): bytes (B, C, H, W).

    `held` (K, C, H, W) are the first K of them; the others are read from disk. `keys` (N), of 64 bits, tell images
    apart; `stamps` (N) tell whether a file has changed, if the keys are not of the content. Names are kept as one array
    of bytes: a list of strings would be copied, page by page, into each worker.
    """

    dtype = torch.uint8

    def __init__(
        self,
        files: Sequence[Path],
        shape: Sequence[int],
        background: str,
        held: Tensor,
        keys: Sequence[int],
        stamps: Sequence[int] | None,
    ) -> None:
        encoded = [os.fsencode(file) for file in files]
        self.ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        self.text = np.frombuffer(b"".join(encoded), np.uint8)
        self.image_shape, self.background, self.held = tuple(shape), background, held
        self.knows_content = stamps is None
        self.all_keys = np.array(keys, np.uint64)
        self.all_stamps = self.all_keys if stamps is None else np.array(stamps, np.uint64)
        self.index = torch.arange(len(files))  # of the images of this part among all

    def part(self, index: Tensor) -> "ImageStore":
        """Return the images at `index` (n,), without a copy."""
        part = object.__new__(ImageStore)
        part.__dict__.update(self.__dict__)
        part.index = self.index[index]
        return part

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> torch.Size:
        """(n, C, H, W)."""
        return torch.Size((len(self), *self.image_shape))

    @property
    def keys(self) -> np.ndarray:
        return self.all_keys[self.index.numpy()]

    @property
    def stamps(self) -> np.ndarray:
        return self.all_stamps[self.index.numpy()]

    @property
    def in_memory(self) -> bool:
        return len(self.held) == len(self.ends)

    def file(self, number: int) -> Path:
        """Return the file of image `number` among all."""
        begin = self.ends[number - 1] if number else 0
        return Path(os.fsdecode(self.text[begin : self.ends[number]].tobytes()))

    def __getitem__(self, index: Tensor) -> Tensor:
        numbers = self.index[index]
        if self.in_memory:
            return self.held[numbers]
        images = torch.empty(len(numbers), *self.image_shape, dtype=torch.uint8)
        is_held = numbers < len(self.held)
        images[is_held] = self.held[numbers[is_held]]
        for place in (~is_held).nonzero()[:, 0].tolist():
            file = self.file(int(numbers[place]))
            try:
                images[place] = resized(decode(file), self.image_shape, self.background)
            except UNREADABLE as error:
                raise FailedError(f"{file} can't be read as an image ({error}); repair it, or take it away") from error
        return images


def resized(image: Decoded, shape: Sequence[int], background: str) -> Tensor:
    """Convert to bytes of `shape` (C, H, W)."""
    channels, height, width = shape
    pixels = composited(in_srgb(image), channels, background)
    return as_tensor(pixels.resize((width, height), Image.Resampling.BILINEAR))


def as_floats(images: Tensor) -> Tensor:
    """Convert bytes to floats in [0, 1]; leave floats as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def read_store(
    files: Sequence[Path],
    shape: Sequence[int],
    background: str,
    memory: Memory,
    problems: list[str],
    remarks: Remarks,
    key: str = "datamodule.root",
) -> tuple[list[Path], ImageStore]:
    """Read image files, or find out how they can be read later. Returns the readable files, and their images.

    Files of MAX_CHECKED bytes in all are decoded once: those that can't be read are left out, with a message in
    `problems`, and copies are found by their pixels. Of more, names, sizes and times are read, and one that can't be
    read later is an error. This depends on the files alone, so that a run is the same wherever its images are kept.
    """
    count, size = count_held(memory, len(files), shape), int(np.prod(shape))
    held = torch.empty(count, *shape, dtype=torch.uint8)
    whole = sum(placed(file)[2] for file in files) <= MAX_CHECKED
    if count:
        log.info(f"Images in memory: {count:,} of {len(files):,} ({count * size / 1e9:,.2f} GB)")
    if count < len(files):
        log.info(f"Images read from disk as they are needed: {len(files) - count:,}")

    def convert(image: Decoded) -> tuple[Tensor, int]:
        small = resized(image, shape, background)
        return small, key_of(small.numpy().tobytes())

    readable, keys = list[Path](), list[int]()
    for file, (small, content) in decoded(files if whole else files[:count], problems, convert, remarks):
        if len(readable) < count:
            held[len(readable)] = small
        readable.append(file)
        keys.append(content)
    stamps = None
    if not whole:
        if problems:
            raise RefusedError(f"{key}: {problems[0]}; repair it, or take it away", key)
        log.info("Too many to be compared: copies are not looked for, and files are known by name and size")
        readable, (keys, stamps) = [*files], known_by_name(files)
    return readable, ImageStore(readable, shape, background, held[: len(readable)], keys, stamps)


def known_by_name(files: Sequence[Path]) -> tuple[list[int], list[int]]:
    """Return keys of names and sizes, and stamps of these and the times."""
    keys, stamps = [], []
    for file in files:
        pack, begin, size = placed(file)
        name = f"{file.parent.name}/{file.name} {size}"
        if pack != file or file.suffix.lower() in UNCOMPRESSED:  # of one size: their names may be equal too
            with pack.open("rb") as opened:
                opened.seek(begin + size // 2)
                name += opened.read(4096).hex()
        keys.append(key_of(name.encode()))
        stamps.append(key_of(f"{name} {pack.stat().st_mtime_ns}".encode()))
    return keys, stamps


def key_of(content: bytes) -> int:
    """Hash bytes to 64 bits."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def count_held(memory: Memory, count: int, shape: Sequence[int]) -> int:
    """Return how many of `count` images of `shape` (C, H, W) are held in memory.

    Raises RefusedError if they can't be, or if a single one is too large.
    """
    size, free = int(np.prod(shape, dtype=object)), free_memory()
    form = "x".join(map(str, shape))
    if 2 * MAX_THREADS * size > free:
        why = f"{MAX_THREADS} images of {form} at a time take {2 * MAX_THREADS * size / 1e9:,.1f} GB of memory"
        raise refusal("datamodule.size", shape[-1], f"{why}; {free / 1e9:,.1f} GB are free")
    if memory == "disk":
        return 0
    if memory == "auto":
        return min(count, int(free * AUTO_FRACTION / processes_here()) // size)
    fitting = min(count, int(memory * 1e9 / processes_here()) // size)
    if fitting * size > free:
        why = (
            f"{fitting:,} images of {form} take {fitting * size / 1e9:,.1f} GB of memory; {free / 1e9:,.1f} GB are free"
        )
        raise refusal("datamodule.memory", memory, f"{why}; memory=auto takes what fits")
    return fitting


def check_batch(batch_size: int, shape: Sequence[int], workers: int) -> None:
    """Raises RefusedError if a batch of images of `shape` (C, H, W), and those that workers prepare, do not fit."""
    size, free = int(np.prod(shape, dtype=object)), free_memory()
    needed = batch_size * size * (1 + 2 * workers + 4)  # as bytes, two batches for each worker, and as floats
    if needed > free:
        why = f"a batch of {batch_size:,} images of {'x'.join(map(str, shape))} takes {needed / 1e9:,.1f} GB of memory"
        raise refusal("datamodule.size", shape[-1], f"{why}; {free / 1e9:,.1f} GB are free")


# Input of predict.py


def read_inputs(
    path: Path, shape: Sequence[int], background: str = "white", memory: Memory = "auto"
) -> tuple[list[str], Any, list[str]]:
    """Read an image, a folder, or an .npy, Arrow or Parquet file: names, images (N, C, H, W), and a message for each
    unreadable file.

    The images are floats in [0, 1], or an ImageStore.
    """
    if path.suffix.lower() == ".npy":
        images = _read_array(path, shape)
        return [f"{path.name}[{i}]" for i in range(len(images))], images, []
    packs = pack_files(path)
    if packs and (path.is_file() or not look_into(path).images):
        contents = Folder(path, [], [], [], [])
        names = {each.file: each.name for each in read_packs(path, packs, "input", classes="none")}
    else:
        contents = image_files(path, "input") if path.is_dir() else Folder(path.parent, [], [path], [], [])
        names = {file: file.relative_to(contents.root).as_posix() for file in contents.images}
    problems: list[str] = []
    remarks = Remarks(background)
    files, store = read_store([*names], shape, background, memory, problems, remarks, "input")
    if files:
        log_lines([*left_out(contents), *remarks.lines()])
    return [names[file] for file in files], store, problems


def _read_array(path: Path, shape: Sequence[int]) -> Tensor:
    """Read images (N, C, H, W), or (N, H, W) or (H, W) if C is 1: bytes in 0–255, or floats in [0, 1]."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a false header allocates nothing
    except (OSError, ValueError, EOFError) as error:
        raise RefusedError(f"input={path}: can't be read as an array ({error})") from error
    expected = "x".join(map(str, ("N", *shape)))
    size = int(np.prod(shape))
    if array.shape[-2:] != tuple(shape[1:]) or array.size == 0 or array.size % size or array.ndim > 4:
        raise RefusedError(f"input={path}: its shape is {array.shape}, the model takes {expected}")
    if array.dtype == np.uint8:
        array = array / 255
    if not np.issubdtype(array.dtype, np.floating) or not (array.min() >= 0 and array.max() <= 1):  # NaN fails
        raise RefusedError(
            f"input={path}: {array.dtype} from {array.min()} to {array.max()}; expected uint8, or floats in [0, 1]"
        )
    return torch.from_numpy(array.reshape(-1, *shape).astype(np.float32))
