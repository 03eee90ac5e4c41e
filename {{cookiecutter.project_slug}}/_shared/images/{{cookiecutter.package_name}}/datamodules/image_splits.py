"""Find classes and splits in folders of images, and divide images into splits without separating exact copies."""

import hashlib
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..engine import RefusedError, log, refusal
from .image_files import MAX_NAMED, Folder, check_memory, image_files, left_out, log_lines, read_images, some
from .splits import split_as_given, split_at_random

SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
UNSPLIT = ""  # the split of images that are not in a train, val or test folder


def split_folders(contents: Folder, with_classes: bool) -> dict[str, Path]:
    """Return the train, val and test folders if the folders in `contents.root` are splits, else an empty dict.

    The structure decides besides the names: a class called train holds images, a split (if `with_classes`) holds
    class folders.
    """
    root, direct = contents.root, {path.parent for path in contents.images}
    filled = {root / path.relative_to(root).parts[0] for path in contents.images}
    splits = [top for top in contents.folders if top.parent == root and top.name.lower() in SPLIT_NAMES]
    kinds = [SPLIT_NAMES[top.name.lower()] for top in splits]
    rest = sorted(filled.difference(splits))
    if with_classes and not filled.difference(direct).intersection(splits):
        return {}
    if len(splits) < 2 and (rest or kinds != ["train"]):
        return {}
    names, wrong = some(splits, root), []
    if rest and not with_classes:
        log.warning(f"{names} of {root} stand beside {some(rest, root)}, and are not used as splits")
        return {}
    if rest:
        wrong += [f"{some(rest, root)} beside the splits {names}; expected only splits, or only classes"]
    if "train" not in kinds or len({*kinds}) < len(kinds):
        wrong += [f"{names}: expected one folder of train, and at most one each of val and test"]
    for top in splits:
        if top not in filled:
            wrong += [f"{top.name} holds no image"]
        elif with_classes and top in direct:
            wrong += [f"{top.name} holds images outside of class folders; expected {top.name}/<class>/"]
    if wrong:
        raise RefusedError(f"datamodule.root={root}: {wrong[0]}", "datamodule.root")
    return dict(zip(kinds, splits, strict=True))


SPLIT_WORD_PATTERN = re.compile(
    r"(?:^|[^a-z])(?:train|val|valid|validation|validate|eval|dev|test)(?:ing|s|set)?(?:[^a-z]|$)"
)


def _check_likeness(contents: Folder) -> None:
    """Raises RefusedError if folders named like splits, such as training_set, hold the same classes; else warns."""
    root, direct = contents.root, {path.parent for path in contents.images}
    inner: dict[Path, set[str]] = {}
    for path in contents.images:
        top, *rest = path.relative_to(root).parts[:-1] or ("",)
        inner.setdefault(root / top, set()).update(rest[:1])
    alike = [top for top, names in inner.items() if top not in direct and len(names) > 1]
    if len(alike) < 2 or len(alike) < len(inner) or len({*map(frozenset, inner.values())}) > 1:
        return
    held = ", ".join(sorted(inner[alike[0]])[:MAX_NAMED])
    finding = f"{some(sorted(alike), root)} hold the same folders ({held})"
    if all(SPLIT_WORD_PATTERN.search(top.name.lower()) for top in alike):
        why = f"{finding}: are these splits? Splits are recognised by the names train, val and test"
        raise RefusedError(f"datamodule.root={root}: {why}", "datamodule.root")
    log.warning(f"{finding}, and are used as classes; splits have to be named train, val and test")


class ClassFolder(NamedTuple):
    """The image files of one class in one split, or in `UNSPLIT`, which is still to be divided."""

    split: str
    name: str
    folder: Path
    files: list[Path]


def class_folders(contents: Folder, one_class: bool, least: int = 2) -> list[ClassFolder]:
    """Find the classes in `contents.root`, or in each of its splits. With `one_class`, class folders are optional.

    Raises RefusedError if the folders are neither classes, nor splits with the classes of train.
    """
    root = contents.root
    splits = split_folders(contents, with_classes=True) or {UNSPLIT: root}
    if UNSPLIT in splits:
        _check_likeness(contents)
    if one_class and UNSPLIT in splits:
        classless = split_folders(contents, with_classes=False)
        if classless or all(path.parent == root for path in contents.images):
            tops = (classless or splits).items()
            files = {split: [path for path in contents.images if top in path.parents] for split, top in tops}
            return [ClassFolder(split, root.resolve().name, top, files[split]) for split, top in tops]
    tops = {top: split for split, top in splits.items()}
    parts = [ClassFolder(tops[each.parent], each.name, each, []) for each in contents.folders if each.parent in tops]
    part_of, loose = {part.folder: part for part in parts}, []
    for path in contents.images:
        part = next((part_of[folder] for folder in path.parents if folder in part_of), None)
        (part.files if part else loose).append(path)
    _check_classes(root, parts, loose, one_class, least)
    return parts


def _check_classes(root: Path, parts: list[ClassFolder], loose: list[Path], one_class: bool, least: int) -> None:
    key = "datamodule.root"
    classes = [part.name for part in parts if part.split in (UNSPLIT, "train")]
    if loose and one_class:
        why = f"images beside folders of images, such as {loose[0].name}"
        raise RefusedError(f"{key}={root}: {why}; expected a folder for each class, or only images", key)
    if loose:
        log.warning(f"Left out: {len(loose):,} images outside of class folders: {some(loose, root)}")
    for part in parts:
        if part.name not in classes:
            why = f"{part.folder} is not a class of train ({', '.join(classes[:MAX_NAMED])})"
            raise refusal(key, root, why, classes, part.name)
        if not part.files:
            raise RefusedError(f"{key}={root}: the class folder {part.folder} holds no image file", key)
    if len(classes) < least and not one_class:
        inner = [part.folder for part in parts if part.folder not in {path.parent for path in part.files}]
        meant = "".join(f"; did you mean {key}={folder}?" for folder in inner)
        why = f"folders with images: {len(classes)}; expected {least} classes or more{meant}"
        raise RefusedError(f"{key}={root}: {why}", key)
    if len([part for part in parts if part.split == UNSPLIT and part.name.lower() in SPLIT_NAMES]) == len(classes):
        log.warning(f"{', '.join(classes)} of {root} hold images, not class folders: each is used as a class")


class LabelledImages(NamedTuple):
    """`images` (N, C, H, W) as floats in [0, 1], `targets` (N,) as integers, and `class_names` in that order.

    `ids` (N) identify images in messages: a file or a number. `splits` (N) is the split of each image, train, val or
    test, if the data comes with splits.
    """

    images: Tensor
    targets: Tensor
    class_names: list[str]
    ids: Sequence[Any]
    splits: Sequence[str] | None = None
    remarks: Sequence[str] = ()  # about the files, for the log


def read_labelled(
    root: Path,
    shape: Sequence[int],
    background: str,
    folds: int | None = None,
    one_class: bool = False,
    classes: Sequence[str] | None = None,
) -> LabelledImages:
    """Read the images in `root`: one folder per class, or one folder per split with class folders inside.

    With `classes`, those of a trained model, all images are for testing and classes may be absent. Raises RefusedError,
    which names the folder, if a class has too few images to split.
    """
    contents = image_files(root, "datamodule.root")
    parts = class_folders(contents, one_class, least=2 if classes is None else 1)
    part_of = {path: part for part in parts for path in part.files}
    check_memory("datamodule.size", shape[-1], len(part_of), shape)
    files, images, problems, remarks = read_images(list(part_of), shape, background)
    counts = Counter(part_of[path].folder for path in files)
    splits = {part.split for part in parts}
    cut = len({"val", "test"} - splits) if folds is None else folds - 1 + ("test" not in splits)
    for part in parts:
        least = 1 if classes is not None or part.split in ("val", "test") else cut + 1
        together = part.split == "train" and folds  # train and val are pooled and divided into folds
        more = sum(counts[each.folder] for each in parts if together and (each.split, each.name) == ("val", part.name))
        if counts[part.folder] + more < least or not counts[part.folder]:
            why = f"{part.folder} has {counts[part.folder]} images that can be read, of {len(part.files)} files"
            why = f"{why}, too few to be split; expected at least {least} in each class"
            raise RefusedError(f"datamodule.root={root}: {why}", "datamodule.root")
    lines = [*left_out(contents, problems), *remarks.lines()]
    for split in [name for name in (UNSPLIT, "train", "val", "test") if name in splits]:
        sizes = [f"{part.name} {counts[part.folder]:,}" for part in parts if part.split == split]
        lines.append(f"Classes{split and f' of {split}'}: {', '.join(sizes[:20])}{', …' if len(sizes) > 20 else ''}")
    class_names = [part.name for part in parts if part.split in (UNSPLIT, "train")]
    if classes is not None and {*class_names} <= {*classes}:
        class_names = [*classes]
    targets = torch.tensor([class_names.index(part_of[path].name) for path in files], dtype=torch.long)
    ids = [path.relative_to(root).as_posix() for path in files]
    split_of = None if splits == {UNSPLIT} else [part_of[path].split for path in files]
    return LabelledImages(images, targets, class_names, ids, split_of, lines)


# Splits


def divide(
    images: LabelledImages, val_fraction: float, test_fraction: float, seed: int, folds: int | None, fold: int | None
) -> dict[str, Tensor]:
    """Divide images into train, val and test indices (n,): as given, or at random and stratified by class.

    Exact copies stay in one split, unless that leaves too few images to divide. The result is logged. A `test_fraction`
    of 1 puts all images, or those of the test split that the data comes with, into test.
    """
    contents = equal_images(images.images)

    def divided(keys: Sequence[Hashable]) -> dict[str, Tensor]:
        members: dict[Hashable, list[int]] = {}
        for number, key in enumerate(keys):
            members.setdefault(key, []).append(number)
        groups = list(members.values())
        first = [group[0] for group in groups]
        strata = images.targets[first]
        options: dict[str, Any] = {"folds": folds, "fold": fold, "strata": strata, "sample_name": "images"}
        if images.splits:
            index = indices_of([images.splits[number] for number in first])
            parts = split_as_given(index, val_fraction, test_fraction, seed, **options)
        else:
            names = images.class_names
            parts = split_at_random(len(groups), val_fraction, test_fraction, seed, strata_names=names, **options)
        numbers = {name: [each for group in part for each in groups[group]] for name, part in parts._asdict().items()}
        return {name: torch.tensor(part, dtype=torch.long) for name, part in numbers.items()}

    try:
        parts = divided([*zip(contents, images.splits or contents, strict=True)])
    except RefusedError:
        if len(set(contents)) == len(contents):
            raise
        parts = divided(range(len(contents)))
    log_lines(images.remarks)
    if images.splits:
        log_splits(images.splits, val_fraction, test_fraction, folds)
    log_copies(images, contents, parts)
    return parts


def equal_images(images: Tensor) -> list[int]:
    """Number the distinct images: exact copies among `images` (N, C, H, W) get the same number."""
    numbers: dict[bytes, int] = {}
    return [numbers.setdefault(digest(image), len(numbers)) for image in images]


def digest(image: Tensor) -> bytes:
    """Hash of an image (C, H, W), the same for exact copies."""
    return hashlib.blake2b(f"{tuple(image.shape)}".encode() + image.numpy().tobytes(), digest_size=16).digest()


def indices_of(splits: Sequence[str]) -> dict[str, Tensor]:
    """Return the indices (n,) of the samples of each split in `splits` (N,)."""
    return {
        split: torch.tensor([n for n, each in enumerate(splits) if each == split]) for split in dict.fromkeys(splits)
    }


def log_splits(splits: Sequence[str], val_fraction: float, test_fraction: float, folds: int | None) -> None:
    """Log which splits are folders, and how the others are made."""
    have = [name for name in ("train", "val", "test") if name in splits]
    words = [f"Splits are the folders {', '.join(have)}"]
    if test_fraction == 1:
        log.info(f"{words[0]}; the test uses {'test' if 'test' in have else 'all of them'}")
        return
    for name, fraction in {"val": val_fraction, "test": test_fraction}.items():
        if name == "val" and folds:
            words += [f"{' and '.join(each for each in have if each != 'test')} divided into {folds} folds"]
        elif name in have:
            words += [f"{name}_fraction is not used"]
        else:
            words += [f"{name} is cut from train ({name}_fraction={fraction})"]
    log.info("; ".join(words))


def log_copies(images: LabelledImages, contents: Sequence[int], parts: dict[str, Tensor]) -> None:
    """Warn of exact copies in different splits or different classes."""
    first: dict[int, tuple[int, str]] = {}  # by content: the first image with it, and its split
    leaks, torn, kept = [], [], 0
    for split, part in parts.items():
        for number in part.tolist():
            earlier, its_split = first.setdefault(contents[number], (number, split))
            leaks += [(number, earlier)] * (split != its_split)
            torn += [(number, earlier)] * bool(images.targets[number] != images.targets[earlier])
            kept += number != earlier and split == its_split

    def example(pair: tuple[int, int]) -> str:
        return f"{images.ids[pair[0]]} and {images.ids[pair[1]]}"

    if kept and not leaks:
        log.info(f"Images kept in the same split as their exact copy: {kept:,}")
    if leaks:
        log.warning(f"Images of val and test with a copy in another split: {len(leaks):,}, e.g. {example(leaks[0])}")
    if torn:
        log.warning(f"Images with a copy in another class: {len(torn):,}, e.g. {example(torn[0])}")
