"""Read a list of images with several labels each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..engine import RefusedError, refusal
from .image_files import MAX_NAMED, Remarks, unread
from .image_lists import UNSPLIT, check_label, other_separator
from .image_sources import FoundImages, find_images
from .image_splits import LabelledImages
from .image_store import Memory, read_store


def read_multilabel(
    root: Path,
    shape: Sequence[int],
    background: str,
    separator: str,
    classes: Sequence[str] | None = None,
    test: Path | None = None,
    memory: Memory = "auto",
) -> LabelledImages:
    """Read the images of the list `root`: targets are a mask (N, K) of the classes of each image, which may be none.

    `test`, another list, is the test split. With `classes`, those of a trained model, all images are for testing.
    Raises RefusedError, which names list and file, if labels can't be read, or if no image has several.
    """
    found = find_images(root, test, "several")
    labels = {path: _labels(cells, found.names[path], separator, root) for path, cells in found.cells.items()}
    split_of = {path: part.split for part in found.parts for path in part.files}
    class_names = _class_names(labels, split_of, found, root)
    if classes is None:
        _check_several(found, labels, separator, root)
    elif {*class_names} <= {*classes}:
        class_names = [*classes]
    problems: list[str] = []
    remarks = Remarks(background)
    files, images = read_store(list(split_of), shape, background, memory, problems, remarks)
    numbers = {name: number for number, name in enumerate(class_names)}
    targets = torch.zeros(len(files), len(class_names), dtype=torch.bool)
    for row, path in enumerate(files):
        targets[row, [numbers[name] for name in labels[path]]] = True
    splits = [split_of[path] for path in files]
    lines = [*found.lines, *unread(problems), *remarks.lines(), *_counts(targets, splits, class_names)]
    if classes is None:
        lines.append("Splits are stratified by the rarest label of each image")
    given = None if {*splits} == {UNSPLIT} else splits
    return LabelledImages(
        images, targets, class_names, [found.names[each] for each in files], given, lines, found.origins
    )


def _counts(targets: Tensor, splits: Sequence[str], class_names: Sequence[str]) -> list[str]:
    """Return a log line for each split: how many of its images have each label, or none."""
    lines = []
    for split in [name for name in (UNSPLIT, "train", "val", "test") if name in splits]:
        rows = targets[[each == split for each in splits]]
        sizes = [f"{name} {count:,}" for name, count in zip(class_names, rows.sum(0).tolist(), strict=True)]
        sizes = [*sizes[:20], *["…"][: len(sizes) > 20], f"none {int((~rows.any(1)).sum()):,}"]
        lines.append(f"Labels{split and f' of {split}'} of {len(rows):,} images: {', '.join(sizes)}")
    return lines


def _labels(cells: Sequence[Any], file: str, separator: str, root: Path) -> set[str]:
    """Return the labels of an image from the cells of its rows: names joined by `separator`, or lists of names."""
    labels: set[str] = set()
    for cell in cells:
        if isinstance(cell, list):
            names = [str(name).strip() if isinstance(name, str | int) else "" for name in cell]
        else:
            text = "" if cell is None else str(cell).strip()
            names = [name.strip() for name in (text.split(separator if separator.strip() else None) if text else [])]
        for name in names:
            where = f"datamodule.root={root}: {file} has the labels {cell!r}"
            if not name:
                raise RefusedError(f"{where}, of which one has no name", "datamodule.root")
            if separator in name:
                why = f"the label {name!r} holds datamodule.separator={separator!r}; expected another separator"
                raise RefusedError(f"{where}: {why}", "datamodule.root")
            check_label(name, where, "datamodule.root")
        labels.update(names)
    return labels


def _class_names(labels: dict[Path, set[str]], split_of: dict[Path, str], found: FoundImages, root: Path) -> list[str]:
    """Return the labels of training. Raises RefusedError if an image of another split has one that is not there."""
    learnt = {name for path, names in labels.items() if split_of[path] in (UNSPLIT, "train") for name in names}
    class_names = sorted(learnt)
    if not class_names:
        raise RefusedError(f"datamodule.root={root}: no image has a label", "datamodule.root")
    for path, names in labels.items():
        if unknown := sorted(names - learnt):
            some = ", ".join(class_names[:MAX_NAMED])
            why = f"{found.names[path]} has the label {unknown[0]!r}, which no image of train has ({some})"
            raise refusal("datamodule.root", root, why, class_names, unknown[0])
    return class_names


def _check_several(found: FoundImages, labels: dict[Path, set[str]], separator: str, root: Path) -> None:
    """Raises RefusedError if no image has several labels: the separator is another one, or each has one class."""
    if max(map(len, labels.values())) > 1:
        return
    names = {name for each in labels.values() for name in each}
    other = other_separator(names, separator)
    meant = f"; did you mean datamodule.separator={other!r}?" if other else ""
    why = f"no image has more than one label, separated by datamodule.separator={separator!r}"
    if not meant:
        why = f"{why}; without datamodule.multilabel, each image has one class"
    raise RefusedError(f"datamodule.root={root}: {why}{meant}", "datamodule.root")
