"""Read labelled images, and divide images into splits without separating exact copies."""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..engine import RefusedError, log, refusal
from .image_files import Remarks, log_lines, unread
from .image_lists import UNSPLIT
from .image_sources import ClassFolder, find_images
from .image_store import ImageStore, Memory, read_store
from .splits import indices_of, log_splits, split_as_given, split_at_random


class LabelledImages(NamedTuple):
    """`images` (N, C, H, W), `targets` (N,) as integers, and `class_names` in that order.

    With several labels an image, `targets` are a mask (N, K) of its classes.

    The images are floats in [0, 1], bytes, or an ImageStore.

    `ids` (N) identify images in messages: a file or a number. `splits` (N) is the split of each image, train, val or
    test, if the data comes with splits; `origins` says where each of them comes from.
    """

    images: Any
    targets: Tensor
    class_names: list[str]
    ids: Sequence[Any]
    splits: Sequence[str] | None = None
    remarks: Sequence[str] = ()  # about the files, for the log
    origins: Mapping[str, str] = MappingProxyType({})


def read_labelled(
    root: Path,
    shape: Sequence[int],
    background: str,
    folds: int | None = None,
    one_class: bool = False,
    classes: Sequence[str] | None = None,
    test: Path | None = None,
    memory: Memory = "auto",
) -> LabelledImages:
    """Read the images in `root`: one folder per class, one folder per split with class folders inside, or a list.

    `test`, of one of these kinds, is the test split. With `classes`, those of a trained model, all images are for
    testing and classes may be absent. Raises RefusedError, which names the folder, if a class has too few to split.
    """
    found = find_images(root, test, "optional" if one_class else "required", least=2 if classes is None else 1)
    parts = found.parts
    part_of = {path: part for part in parts for path in part.files}
    problems: list[str] = []
    remarks = Remarks(background)
    files, images = read_store(list(part_of), shape, background, memory, problems, remarks)
    counts = Counter(part_of[path].folder for path in files)
    splits = {part.split for part in parts}
    _check_counts(root, parts, counts, folds, whole=classes is not None)
    lines = [*found.lines, *unread(problems), *remarks.lines()]
    for split in [name for name in (UNSPLIT, "train", "val", "test") if name in splits]:
        sizes = [f"{part.name} {counts[part.folder]:,}" for part in parts if part.split == split]
        lines.append(f"Classes{split and f' of {split}'}: {', '.join(sizes[:20])}{', …' if len(sizes) > 20 else ''}")
    class_names = list(dict.fromkeys(part.name for part in parts if part.split in (UNSPLIT, "train")))
    if classes is not None and {*class_names} <= {*classes}:
        class_names = [*classes]
    targets = torch.tensor([class_names.index(part_of[path].name) for path in files], dtype=torch.long)
    ids = [found.names[path] for path in files]
    split_of = None if splits == {UNSPLIT} else [part_of[path].split for path in files]
    return LabelledImages(images, targets, class_names, ids, split_of, lines, found.origins)


def _check_counts(root: Path, parts: list[ClassFolder], counts: Counter[Path], folds: int | None, whole: bool) -> None:
    """Raises RefusedError if a class has too few readable images (`counts`, by folder) to be split."""
    splits = {part.split for part in parts}
    cut = len({"val", "test"} - splits) if folds is None else folds - 1 + ("test" not in splits)
    for part in parts:
        least = 1 if whole or part.split in ("val", "test") else cut + 1
        together = part.split == "train" and folds  # train and val are pooled and divided into folds
        more = sum(counts[each.folder] for each in parts if together and (each.split, each.name) == ("val", part.name))
        if counts[part.folder] + more < least or not counts[part.folder]:
            why = f"{part.folder} has {counts[part.folder]} images that can be read, of {len(part.files)} files"
            why = f"{why}, too few to be split; expected at least {least} in each class"
            raise RefusedError(f"datamodule.root={root}: {why}", "datamodule.root")


# Splits


def divide(
    images: LabelledImages, val_fraction: float, test_fraction: float, seed: int, folds: int | None, fold: int | None
) -> dict[str, Tensor]:
    """Divide images into train, val and test indices (n,): as given, or at random and stratified (see strata_of).

    Exact copies stay in one split, unless too few images are left. A `test_fraction` of 1 tests on all, or all given.
    """
    check_test(test_fraction, images.splits or ())
    contents = equal_images(images.images)

    def divided(keys: Sequence[Hashable]) -> dict[str, Tensor]:
        members: dict[Hashable, list[int]] = {}
        for number, key in enumerate(keys):
            members.setdefault(key, []).append(number)
        groups = list(members.values())
        first = [group[0] for group in groups]
        options: dict[str, Any] = {"folds": folds, "fold": fold, "sample_name": "images"}
        options["strata"] = strata_of(images, first, val_fraction, test_fraction, folds)
        if images.splits:
            index = indices_of([images.splits[number] for number in first])
            parts = split_as_given(index, val_fraction, test_fraction, seed, **options)
        else:
            options["strata_names"] = images.class_names if images.targets.ndim == 1 else ()
            parts = split_at_random(len(groups), val_fraction, test_fraction, seed, **options)
        numbers = {name: [each for group in part for each in groups[group]] for name, part in parts._asdict().items()}
        return {name: torch.tensor(part, dtype=torch.long) for name, part in numbers.items()}

    try:
        parts = divided([*zip(contents, images.splits or contents, strict=True)])
    except RefusedError:
        if len(set(contents)) == len(contents):
            raise
        parts = divided(range(len(contents)))
    log_lines(images.remarks)
    origins = {split: images.origins.get(split, f"given as {split}") for split in dict.fromkeys(images.splits or ())}
    if images.remarks or origins:  # images of the user
        sizes = {split: len(part) for split, part in parts.items()}
        log_splits(sizes, origins, val_fraction, test_fraction, folds, fold)
    log_copies(images, contents, parts)
    return parts


def strata_of(
    images: LabelledImages, index: Sequence[int], val_fraction: float, test_fraction: float, folds: int | None
) -> Tensor:
    """Return the stratum (n,) of each image at `index` (n,): its class or, of several labels, the rarest of its own.

    Labels that are the rarest one of too few images for the fractions or folds share a stratum, which is that of most
    images if they are still too few. Images of given splits that are not divided do not count.
    """
    targets = images.targets[torch.tensor(index)]
    if targets.ndim == 1:
        return targets
    least = max(2 * (folds or 1), math.ceil(1 / min(val_fraction or 1, test_fraction or 1)) + 1)
    kept = ("test",) if folds else ("val", "test")
    is_pool = torch.tensor([images.splits is None or images.splits[number] not in kept for number in index])
    pool, size = targets[is_pool], targets.shape[1]
    rank = pool.sum(0).argsort(stable=True).argsort()
    rarest = torch.where(pool, rank, size).amin(1)  # `size`: no label
    counts = torch.bincount(rarest, minlength=size + 1)
    rarest[(counts < least)[rarest]] = size + 1
    if (rarest == size + 1).sum() < least:
        rarest[rarest == size + 1] = counts.argmax()
    strata = torch.zeros(len(targets), dtype=torch.long)
    strata[is_pool] = rarest.unique(return_inverse=True)[1]
    return strata


def check_test(test_fraction: float, splits: Collection[str]) -> None:
    """Raises RefusedError if there is nothing to test on: no split of `splits` and no fraction."""
    if not test_fraction and "test" not in splits:
        why = "leaves no images to test on; expected more than 0, or datamodule.test=<folder or list>"
        raise refusal("datamodule.test_fraction", test_fraction, why)


def equal_images(images: Any) -> list[int]:
    """Number the distinct images: exact copies among `images` (N, C, H, W) get the same number."""
    numbers: dict[Hashable, int] = {}
    if isinstance(images, ImageStore) and not images.knows_content:
        return [*range(len(images))]
    keys = images.keys.tolist() if isinstance(images, ImageStore) else map(digest, images)
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def digest(image: Tensor) -> bytes:
    """Hash of an image (C, H, W), the same for exact copies."""
    return hashlib.blake2b(f"{tuple(image.shape)}".encode() + image.numpy().tobytes(), digest_size=16).digest()


def log_copies(images: LabelledImages, contents: Sequence[int], parts: dict[str, Tensor]) -> None:
    """Warn of exact copies in different splits or different classes."""
    first: dict[int, tuple[int, str]] = {}  # by content: the first image with it, and its split
    leaks, torn, kept = [], [], 0
    for split, part in parts.items():
        for number in part.tolist():
            earlier, its_split = first.setdefault(contents[number], (number, split))
            leaks += [(number, earlier)] * (split != its_split)
            torn += [(number, earlier)] * (not torch.equal(images.targets[number], images.targets[earlier]))
            kept += number != earlier and split == its_split

    def example(pair: tuple[int, int]) -> str:
        return f"{images.ids[pair[0]]} and {images.ids[pair[1]]}"

    if kept and not leaks:
        log.info(f"Images kept in the same split as their exact copy: {kept:,}")
    if leaks:
        log.warning(f"Images of val and test with a copy in another split: {len(leaks):,}, e.g. {example(leaks[0])}")
    if torn:
        log.warning(f"Images with a copy in another class: {len(torn):,}, e.g. {example(torn[0])}")
