"""Base class for super-resolution data: disjoint regions, random crops, and input and output of predict.py.

To use your own images, subclass RegionDataModule and write `load_images`; see photographs.py and image_folder.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from PIL import Image, ImageFilter
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..engine import Above0Below1, Draws, FailedError, From0Below1, Pixels, RefusedError, Seed, log, refusal
from ..engine.order import BatchOrder, TensorBatches, batches, content_keys
from .augmentation import random_crops
from .base import TensorDataModule
from .image_files import Decoded, Folder, Remarks, as_tensor, decode, decoded, image_files, left_out, log_lines
from .image_lists import UNSPLIT
from .image_splits import check_test, digest
from .resize import downscale
from .splits import check_split, indices_of, log_splits, split_as_given, split_at_random

MIN_WHOLE_IMAGES = 10  # with at least this many images, whole images are held out, otherwise regions
MIN_STRATIFIED_REGIONS = 10  # with at least this many regions in each image, splits are stratified by image
SEEN_STEP = 8  # pixels between those by which a region is recognised; smaller overlaps may be missed


class SuperResolutionFacts(TypedDict):
    """The data's properties that are passed to the model."""

    scale: int  # enlargement factor of width and height


class Crops(TensorBatches):
    """Regions (N, C, R, R) in bytes, each repeated `times`, and the image number (N,) of each.

    A batch holds the regions as floats in [0, 1].
    """

    def __init__(self, regions: Tensor, images: Tensor, times: int = 1) -> None:
        super().__init__(regions, images)
        self.times = times

    def __len__(self) -> int:
        return super().__len__() * self.times

    def __getitem__(self, index: Tensor) -> tuple[Tensor, ...]:
        regions, images = super().__getitem__(index % super().__len__())
        return regions.float() / 255, images


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Images (1, 3, H, W) in [0, 1], read on access; each comes with the tile size to enlarge it by."""

    def __init__(self, files: Sequence[Path], tile: int) -> None:
        self.files, self.tile = files, tile

    def __getitem__(self, index: Tensor) -> tuple[Tensor, int]:
        return as_tensor(opaque(decode(self.files[int(index)])))[None].float() / 255, self.tile


def opaque(image: Decoded) -> Image.Image:
    """Convert to RGB without alpha; fully transparent pixels take the colours around them, so that edges stay clean."""
    pixels = image.pixels.convert("RGB")
    if image.alpha is None:
        return pixels
    whole = pixels.copy()
    whole.putalpha(image.alpha)
    around = whole.convert("RGBa").filter(ImageFilter.GaussianBlur(2)).convert("RGBA").convert("RGB")
    return Image.composite(pixels, around, image.alpha.point([0] + [255] * 255))


def rgb_profile(image: Decoded) -> bytes | None:
    """Return the colour profile if it is for RGB, else None: one for CMYK or grey does not fit the output."""
    return image.profile if image.profile and image.profile[16:20] == b"RGB " else None


def cut(image: Tensor, region: int, gap: int) -> Iterator[tuple[Tensor, str]]:
    """Cut an image (C, H, W) into squares (C, region, region), `gap` pixels apart; yield each with its "top,left"."""
    height, width = image.shape[1:]
    for top in range(0, height - region + 1, region + gap):
        for left in range(0, width - region + 1, region + gap):
            yield image[:, top : top + region, left : left + region], f"{top},{left}"


def place_keys(images: np.ndarray, corners: np.ndarray, region: int) -> np.ndarray:
    """Hash the image and place of the pixels of regions whose row and column are multiples of SEEN_STEP (N, P).

    Regions that overlap share keys, however they were cut; `images` (N,) are hashes, `corners` (N, 2) top and left.
    """
    factors = np.random.default_rng(0).integers(0, 2**64, 2, np.uint64) | np.uint64(1)
    first = 1 - (-corners // SEEN_STEP)  # in steps, from 1 on: the key of no place is that of the image
    rows, columns = ((first[:, axis, None] + np.arange(region // SEEN_STEP)).astype(np.uint64) for axis in (0, 1))
    keys = images[:, None, None] + rows[:, :, None] * factors[0] + columns[:, None, :] * factors[1]
    return keys.reshape(len(images), (region // SEEN_STEP) ** 2)


class RegionDataModule(TensorDataModule):
    """Regions of RGB images and their low images, in train, validation and test splits that `split_seed` determines.

    The model gets batches of `(low (B, 3, h, w), high (B, 3, h * scale, w * scale), image (B,))`. In training `high` is
    a random crop of `patch` pixels from each region, with `crops` per region and epoch; otherwise the whole region.
    """

    sample_name = "regions"
    seen_as = "overlap"
    output_is_folder = True  # predict.py writes a folder
    input_example = "<an image or a folder of images>"

    def __init__(
        self,
        scale: Literal[2, 3, 4] = 2,
        patch: Pixels = 48,
        region: Pixels = 64,
        gap: NonNegativeInt = 10,
        crops: Draws = 1,
        val_fraction: Above0Below1 = 0.1,
        test_fraction: From0Below1 = 0.2,
        split_seed: Seed = 0,
        folds: PositiveInt | None = None,
        fold: PositiveInt | None = None,
        tile: Pixels = 256,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_split(val_fraction, test_fraction, folds, fold)
        for name, side in {"patch": patch, "region": region}.items():
            if side % scale or side > region:
                limit = f", at most region={region}" if name == "patch" else ""
                raise refusal(f"datamodule.{name}", side, f"expected a multiple of scale={scale}{limit}")
        self.scale, self.patch, self.region, self.gap, self.crops, self.tile = scale, patch, region, gap, crops, tile
        self.val_fraction, self.test_fraction, self.split_seed = val_fraction, test_fraction, split_seed
        self.folds, self.fold = folds, fold
        self.split_of: dict[str, str] = {}  # split of each image, if the data comes with splits
        self.origins: dict[str, str] = {}  # where these splits come from
        self.files: list[Path] = []  # input files of predict.py, and the names of their outputs
        self.names: list[str] = []
        self.image_keys = np.empty(0, np.uint64)  # hash of the content of each image from `load_images`

    def load_images(self) -> Iterator[tuple[str, Tensor]]:
        """Yield name and bytes (3, H, W) of each image, and set `split_of` if the data has splits.

        Raises RefusedError if there are no images.
        """
        raise NotImplementedError(f"{type(self).__name__} must define load_images()")

    def load_splits(self) -> dict[str, tuple[Tensor, ...]]:
        regions, ids, images, splits, small, keys = [], [], [], [], [], []
        for number, (name, image) in enumerate(self._distinct_images()):
            keys.append(content_keys([image[None]]))
            parts = list(cut(image, self.region, self.gap))
            if not parts:
                small.append(f"{name} is {image.shape[2]}x{image.shape[1]}, smaller than a region")
            regions += [part for part, _ in parts]
            ids += [f"{name} {place}" for _, place in parts]
            images += [number] * len(parts)
            splits += [self.split_of.get(name, UNSPLIT)] * len(parts)
        if not regions or {*self.split_of.values()}.difference(splits):
            missing = "".join(f" of {split}" for split in dict.fromkeys(self.split_of.values()) if split not in splits)
            why = f"no readable image{missing} is as wide and as high as this"
            raise refusal("datamodule.region", self.region, why)
        self.image_keys = np.concatenate(keys)
        log_lines(f"Left out: {each}" for each in small)
        image_numbers = torch.tensor(images)
        check_test(self.test_fraction, self.split_of.values())
        index = self._split(image_numbers, splits)
        sizes = {split: len(numbers) for split, numbers in index.items()}
        origins = {split: self.origins.get(split, f"given as {split}") for split in self.split_of.values()}
        log_splits(sizes, origins, self.val_fraction, self.test_fraction, self.folds, self.fold)
        self.ids = {split: [ids[number] for number in numbers.tolist()] for split, numbers in index.items()}
        empty = regions[0][None][:0]
        return {
            split: (torch.stack([regions[each] for each in part]) if len(part) else empty, image_numbers[part])
            for split, part in index.items()
        }

    def _distinct_images(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the images without exact copies within a split; warn of copies in another split."""
        seen: dict[bytes, dict[str, str]] = {}  # by content: the first name in each split
        copies, leaks = [], []
        for name, image in self.load_images():
            split, equal = self.split_of.get(name, UNSPLIT), seen.setdefault(digest(image), {})
            if split in equal:
                copies.append(f"{name} of {equal[split]}")
                continue
            leaks += [f"{name} of {other}" for other in [*equal.values()][:1]]
            equal[split] = name
            yield name, image
        if copies:
            log.warning(f"Left out as exact copies: {len(copies):,}, e.g. {copies[0]}")
        if leaks:
            log.warning(f"Images with a copy in another split: {len(leaks):,}, e.g. {leaks[0]}")

    def _split(self, images: Tensor, splits: list[str]) -> dict[str, Tensor]:
        """Divide regions into splits; `images` and `splits` (N,) are the image number and known split of each."""
        _, images = images.unique(return_inverse=True)
        fractions, options = (self.val_fraction, self.test_fraction, self.split_seed), {"sample_name": "regions"}
        folds: dict[str, Any] = {"folds": self.folds, "fold": self.fold, **options}
        if UNSPLIT not in splits:
            parts = indices_of(splits)
            whole = len(images[parts["train"]].unique()) >= MIN_WHOLE_IMAGES
            return split_as_given(parts, *fractions, **folds, groups=images if whole else None)._asdict()
        counts = images.bincount()
        whole = len(counts) >= MIN_WHOLE_IMAGES
        unit = {"groups": images} if whole else {"strata": images} if counts.min() >= MIN_STRATIFIED_REGIONS else {}
        return split_at_random(len(images), *fractions, **folds, **unit)._asdict()

    def trained_on(self) -> np.ndarray:
        """Return hashes of images trained on, and of places in images that hold test regions too.

        Both are recognised even if the images are cut differently.
        """
        images = np.concatenate([self._images_of(split) for split in ("train", "val")])
        corners = np.concatenate([self._corners(split) for split in ("train", "val")])
        shared = np.isin(images, self._images_of("test"))
        places = place_keys(images[shared], corners[shared], self.region)
        return np.concatenate([np.unique(images[~shared]), places.flatten()])

    def is_seen(self, keys: np.ndarray) -> np.ndarray:
        """Return True for each test region (N,) that overlaps one of the training, or whose whole image was seen."""
        images = self._images_of("test")
        places = place_keys(images, self._corners("test"), self.region)
        return np.isin(images, keys) | np.isin(places, keys).any(1)

    def _images_of(self, split: str) -> np.ndarray:
        """Return the hash of each region's image (N,)."""
        return self.image_keys[self.splits[split][1].numpy()]

    def _corners(self, split: str) -> np.ndarray:
        """Return top and left of each region (N, 2)."""
        return np.array([each.rsplit(" ", 1)[1].split(",") for each in self.ids[split]], np.int64).reshape(-1, 2)

    def dataset(self, split: str) -> Crops:
        return Crops(*self.splits[split], times=self.crops if split == "train" else 1)

    def sample_ids(self, split: str, index: Tensor) -> list[str]:
        """Return file, top and left of each region; in training also the number of the crop within the epoch."""
        ids = self.ids[split]
        return [ids[n % len(ids)] + (f" #{n // len(ids)}" if split == "train" else "") for n in index.tolist()]

    def _batches(self, split: str, seed: int | None = None) -> DataLoader:
        loader = super()._batches(split, seed)
        if split != "train":  # whole regions take more memory than crops
            order: Any = loader.sampler
            order.batch_size = max(1, self.batch_size // 4)
        return loader

    @property
    def facts(self) -> SuperResolutionFacts:
        """Properties of the data that are passed to the model as arguments."""
        return {"scale": self.scale}

    def describe(self) -> str:
        """Summarise the data in one line for the log."""
        return f"x{self.scale}, regions of {self.region} pixels: {self.split_sizes()}"

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make low images, and in training random crops, a whole batch at a time on its device."""
        trainer = self.trainer
        if trainer is None or trainer.predicting:
            return batch
        high, images = batch
        if trainer.training:
            high = random_crops(high, self.patch, self.generator(high.device))
        return downscale(high, self.scale), high, images

    # Input and output of predict.py

    def read_inputs(self, source: str, hparams: Mapping[str, Any]) -> list[str]:
        """Find the image, or the images of the folder, at `source`; return one line for each file that can't be read.

        Raises RefusedError if none can.
        """
        path, reduced, lost = Path(source), 0, 0
        problems: list[str] = []
        contents = image_files(path, "input") if path.is_dir() else Folder(path.parent, [], [path], [], [])

        def told(image: Decoded) -> tuple[bool, bool]:
            return image.reduced, image.profile is not None and rgb_profile(image) is None

        for file, (is_reduced, loses_profile) in decoded(contents.images, problems, told, Remarks()):
            self.files.append(file)
            reduced += is_reduced
            lost += loses_profile
        if not self.files:
            raise RefusedError(f"input={source}: no image could be read; {problems[0]}")
        log_lines(left_out(contents))
        if reduced:
            log.info(f"Images reduced to 8 bits per channel: {reduced:,}")
        if lost:
            log.info(f"Images that lose their colour profile, as it is not for RGB: {lost:,}")
        stems = [file.relative_to(contents.root).with_suffix("") for file in self.files]
        for file, stem in zip(self.files, stems, strict=True):
            kind = f"_{file.suffix[1:]}" if stems.count(stem) > 1 else ""  # keeps cat.png and cat.jpg apart
            self.names.append(f"{stem.as_posix()}{kind}_x{hparams['scale']}.png")
        return problems

    def predict_dataloader(self) -> DataLoader:
        return batches(ImageFiles(self.files, self.tile), BatchOrder(len(self.files), 1))

    def predictions_name(self, source: str) -> str:
        """Return the name of the output folder."""
        return Path(source).stem or "images"

    def written(self, path: Path) -> list[Path]:
        return [path / name for name in self.names]

    def write_batch(self, outputs: Tensor, number: int, path: Path, hparams: Mapping[str, Any]) -> None:
        """Write the enlarged image (3, H, W), in bytes, of input number `number`. An input is never overwritten.

        The file keeps the input's colour profile, and its transparency, enlarged by bicubic interpolation.
        """
        file = path / self.names[number]
        if file.resolve() in {each.resolve() for each in self.files}:
            raise FailedError(f"{file} is an input, and is not overwritten; choose another output=")
        file.parent.mkdir(parents=True, exist_ok=True)
        enlarged, image = Image.fromarray(outputs.permute(1, 2, 0).numpy()), decode(self.files[number])
        if image.alpha is not None:
            enlarged.putalpha(image.alpha.resize(enlarged.size, Image.Resampling.BICUBIC))
        enlarged.save(file, icc_profile=rgb_profile(image))

    def write_predictions(self, outputs: Any, path: Path, hparams: Mapping[str, Any]) -> int:
        """Return the number of images; `write_batch` has written them."""
        return len(self.files)
