"""Find the classes and splits of images: in folders, in lists, in Arrow files, and in test images of their own."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from ..engine import RefusedError, log, refusal
from .image_files import MAX_NAMED, Folder, image_files, left_out, look_into, some
from .image_lists import LIST_SUFFIXES, UNSPLIT, read_list
from .image_packs import PACK_SUFFIXES, pack_files, read_packs
from .splits import SPLIT_NAMES


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
    """The image files of one class in one split, or in `UNSPLIT`, which is still to be divided.

    For a list of images, `folder` is only a name: that of the list, split and class.
    """

    split: str
    name: str
    folder: Path
    files: list[Path]


def class_folders(contents: Folder, one_class: bool, least: int = 2, key: str = "datamodule.root") -> list[ClassFolder]:
    """Find the classes in `contents.root`, or in each of its splits. With `one_class`, class folders are optional.

    Raises RefusedError, which names `key`, if the folders are neither classes, nor splits with the classes of train.
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
    if loose and one_class:
        why = f"images beside folders of images, such as {loose[0].name}"
        raise RefusedError(f"{key}={root}: {why}; expected a folder for each class, or only images", key)
    if loose:
        log.warning(f"Left out: {len(loose):,} images outside of class folders: {some(loose, root)}")
    _check_classes(root, parts, one_class, least, key)
    return parts


def _check_classes(root: Path, parts: list[ClassFolder], one_class: bool, least: int, key: str) -> None:
    classes = list(dict.fromkeys(part.name for part in parts if part.split in (UNSPLIT, "train")))
    for part in parts:
        if part.name not in classes:
            why = f"{part.folder} is not a class of train ({', '.join(classes[:MAX_NAMED])})"
            raise refusal(key, root, why, classes, part.name)
        if not part.files:
            raise RefusedError(f"{key}={root}: the class folder {part.folder} holds no image file", key)
    if len(classes) < least and not one_class:
        inner = [part.folder for part in parts if part.folder not in {path.parent for path in part.files}]
        meant = "".join(f"; did you mean {key}={folder}?" for folder in inner if folder.is_dir())
        why = f"{'folders with images' if root.is_dir() else 'classes'}: {len(classes)}"
        raise RefusedError(f"{key}={root}: {why}; expected {least} classes or more{meant}", key)
    if len([part for part in parts if part.split == UNSPLIT and part.name.lower() in SPLIT_NAMES]) == len(classes):
        log.warning(f"{', '.join(classes)} of {root} hold images, not class folders: each is used as a class")


# Folders or labels that name the class of an image; "several": labels of a list, any number an image.
Classes = Literal["required", "optional", "none", "several"]


class FoundImages(NamedTuple):
    """Images by class and split, before any is read: for each file its name in messages."""

    parts: list[ClassFolder]
    names: dict[Path, str]
    origins: dict[str, str]  # for each split that the data comes with: where it comes from
    lines: list[str]  # files left out, for the log
    cells: Mapping[Path, tuple[Any, ...]] = MappingProxyType({})  # of "several" labels, as they are in the list


def find_images(root: Path, test: Path | None, classes: Classes, least: int = 2) -> FoundImages:
    """Find the classes and splits of the images in `root`; with `test`, its images are the test split.

    Both are folders, lists (image_lists.py), or Arrow or Parquet files (image_packs.py). Raises RefusedError, which
    names datamodule.root or datamodule.test.
    """
    found = _find(root, classes, least, "datamodule.root", without=test)
    return found if test is None else _with_test(found, root, test, classes)


def _find(source: Path, classes: Classes, least: int, key: str, without: Path | None = None) -> FoundImages:
    """Find the images of `source`, but not those in the folder `without`."""
    packs = pack_files(source)
    if classes == "several" and (packs or source.is_dir()):
        why = "expected a list of file,label: folders and Arrow files hold images of one class"
        raise RefusedError(f"{key}={source}: datamodule.multilabel is for several labels an image; {why}", key)
    if not source.is_dir() or (packs and not look_into(source).images):
        return _listed_images(source, packs, classes, least, key)
    contents = image_files(source, key)
    if without is not None and source.resolve() in without.resolve().parents:
        contents = Folder(source, *([path for path in each if not _lies_in(path, without)] for each in contents[1:]))
    if classes == "none":
        tops = split_folders(contents, with_classes=False) or {UNSPLIT: source}
        files = {split: [path for path in contents.images if top in path.parents] for split, top in tops.items()}
        parts = [ClassFolder(split, "", top, files[split]) for split, top in tops.items()]
    else:
        parts = class_folders(contents, classes == "optional", least, key)
    names = {path: path.relative_to(source).as_posix() for part in parts for path in part.files}
    split_tops = {part.split: part.folder.relative_to(source).parts[0] for part in parts if part.split != UNSPLIT}
    origins = {split: f"folder {name}" for split, name in split_tops.items()}
    return FoundImages(parts, names, origins, left_out(contents))


def _lies_in(path: Path, folder: Path) -> bool:
    top = folder.resolve()
    return path.resolve().is_relative_to(top) or path.parent.resolve().is_relative_to(top)  # also a link in it


def _listed_images(source: Path, packs: Sequence[Path], classes: Classes, least: int, key: str) -> FoundImages:
    if not packs and source.suffix.lower() not in LIST_SUFFIXES:
        kinds = ", ".join((*LIST_SUFFIXES, *PACK_SUFFIXES))
        raise RefusedError(f"{key}={source}: expected a folder of images, or a list ({kinds})", key)
    listed = read_packs(source, packs, key, classes) if packs else read_list(source, key, classes)
    parts: dict[tuple[str, str], ClassFolder] = {}
    for each in sorted(listed, key=lambda each: (each.label, each.name)):
        label = "" if classes in ("none", "several") else each.label or source.stem
        part = ClassFolder(each.split, label, source / each.split / label, [])
        parts.setdefault((each.split, label), part).files.append(each.file)
    _check_classes(source, [*parts.values()], classes != "required", least, key)
    kind = "files" if packs else "column"
    origins = {split: f"{kind} of {source.name}" for split in dict.fromkeys(each.split for each in listed) if split}
    names, cells = {each.file: each.name for each in listed}, {each.file: each.cells for each in listed}
    return FoundImages([*parts.values()], names, origins, [], cells)


def _with_test(found: FoundImages, root: Path, test: Path, classes: Classes) -> FoundImages:
    """Add the images of `test` as the test split, and take them out of the others."""
    key = "datamodule.test"
    tested = _find(test, classes, 1, key)
    for data, whose in ((found, f"datamodule.root={root}"), (tested, "it")):
        if "test" in data.origins or (data is tested and data.origins):
            why = f"{whose} has splits of its own ({', '.join(data.origins.values())}); expected one test"
            raise refusal(key, test, why)
    known = list(dict.fromkeys(part.name for part in found.parts if part.split in (UNSPLIT, "train")))
    if len(known) == len(tested.parts) == 1 and classes == "optional":
        tested.parts[0] = tested.parts[0]._replace(name=known[0])  # the name of a flat folder
    for part in tested.parts:
        if part.name not in known:
            why = f"{part.folder} is not a class of train ({', '.join(known[:MAX_NAMED])})"
            raise refusal(key, test, why, known, part.name)
    twice: set[Path] = set()
    if root.is_file() or test.is_file() or root.resolve().is_relative_to(test.resolve()):
        held_out = {path.resolve() for path in tested.names}
        twice = {path for path in found.names if path.resolve() in held_out}
    parts = [
        part._replace(split=part.split or "train", files=[path for path in part.files if path not in twice])
        for part in found.parts
    ]
    _check_classes(root, parts, True, 1, "datamodule.root")
    lines = [f"Left out of train and val, as they are in datamodule.test: {len(twice):,} images"] if twice else []
    names = {path: found.names[path] for part in parts for path in part.files}
    prefix = f"{test.name}/" if {*names.values()}.intersection(tested.names.values()) else ""
    return FoundImages(
        [*parts, *(part._replace(split="test") for part in tested.parts)],
        {**names, **{path: prefix + name for path, name in tested.names.items()}},
        {"train": f"datamodule.root={root}", **found.origins, "test": f"datamodule.test={test}"},
        [*found.lines, *tested.lines, *lines],
        {**{path: cells for path, cells in found.cells.items() if path in names}, **tested.cells},
    )
