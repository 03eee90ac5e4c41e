"""Lists of image files: CSV, TSV, JSON and JSON lines with the class, or the labels, and the split of each image."""

import csv
import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from ..engine import RefusedError, refusal
from .splits import SPLIT_NAMES

LIST_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
COLUMNS = {  # what a column is called, in lower case; the first is the name in messages
    "file": ("file", "file_name", "filename", "path", "image"),
    "label": ("label", "class", "class_name", "category"),
    "split": ("split", "subset", "set"),
}
UNSPLIT = ""  # the split of images that are still to be divided


class Listed(NamedTuple):
    """An image of a list: its file, the name of the file in the list, and class and split, empty if not given."""

    file: Path
    name: str
    label: str
    split: str
    cells: tuple[Any, ...] = ()  # with several labels an image: their column, of each row of the image


def read_list(path: Path, key: str, classes: str) -> list[Listed]:
    """Read a list of images; `classes` are as in `find_images`. File names are relative to the folder of the list.

    Raises RefusedError, which names `key` and the row, if a file does not exist, a value is missing, or a file is there
    twice, unless its rows are of "several" labels.
    """
    rows = _read_rows(path, key)
    names = _columns(rows[0], path, key, needs_label=classes in ("required", "several"))
    first_rows: dict[Path, int] = {}
    listed: dict[Path, Listed] = {}
    for number, row in enumerate(rows, 1):
        each = _listed(row, number, names, path, key, classes)
        file = Path(os.path.abspath(each.file))
        if (first := first_rows.setdefault(file, number)) == number:
            listed[file] = each
        elif classes == "several" and each.split == listed[file].split:
            listed[file] = listed[file]._replace(cells=listed[file].cells + each.cells)
        else:
            expected = "one split" if classes == "several" else "one row"
            why = f"{each.name} is in rows {first} and {number}; expected {expected} for each image"
            raise RefusedError(f"{key}={path}: {why}", key)
    if absent := [each.name for each in listed.values() if not each.file.is_file()]:
        why = f"{len(absent):,} of {len(listed):,} files do not exist, such as {absent[0]}"
        raise RefusedError(f"{key}={path}: {why}; expected names relative to {path.parent}", key)
    if "split" in names and "train" not in {each.split for each in listed.values()}:
        raise RefusedError(f"{key}={path}: no image of the split train", key)
    if classes == "required":
        _check_single({each.label for each in listed.values()}, path, key)
    return [*listed.values()]


def _listed(row: dict[str, Any], number: int, names: dict[str, str], path: Path, key: str, classes: str) -> Listed:
    """Parse a row. Raises RefusedError, which names `key` and the row, if a value is missing or wrong."""
    where = f"{key}={path}: row {number}"
    cell = row.get(names["label"]) if "label" in names else None
    if isinstance(cell, list) and classes in ("required", "optional"):
        several = "; for several labels an image, datamodule.multilabel=true" if classes == "required" else ""
        raise RefusedError(f"{where} has a list of labels; expected one name{several}", key)
    values = {kind: str(row.get(name) if row.get(name) is not None else "").strip() for kind, name in names.items()}
    for kind in ("file", "label", "split"):
        if kind in names and not values[kind] and (kind, classes) != ("label", "several"):
            raise RefusedError(f"{where} has no {names[kind]}", key)
    split = values.get("split", UNSPLIT)
    if split and split.lower() not in SPLIT_NAMES:
        why = f"row {number}: no such split as {split!r}; expected train, val or test"
        raise refusal(key, path, why, SPLIT_NAMES, split.lower())
    name, label = values["file"], values.get("label", "")
    if classes in ("required", "optional"):
        check_label(label, where, key)
    cells = (cell,) if classes == "several" else ()
    return Listed(path.parent / name, Path(name).as_posix(), label, SPLIT_NAMES.get(split.lower(), UNSPLIT), cells)


def check_label(label: str, where: str, key: str) -> None:
    """Raises RefusedError if a class can't be part of the name of a metric, such as val/f1/<class>."""
    if re.search(r"[/\\\x00-\x1f]", label):
        raise RefusedError(f"{where}: the label {label!r} holds a slash or a control character; rename it", key)


def other_separator(labels: Collection[str], separator: str = "") -> str | None:
    """Return a character, not `separator`, by which some of the `labels` are joined; None if there is none."""
    for other in "|;,+ ":
        several = [{name.strip() for name in label.split(other)} for label in labels if other in label]
        if other != separator and several and len(set().union(*several)) < len(labels):
            return other
    return None


def _check_single(labels: set[str], path: Path, key: str) -> None:
    """Raises RefusedError if labels are joined from others, such as cat|dog from cat and dog."""
    for separator in "|;,":
        for label in sorted(labels):
            parts = {name.strip() for name in label.split(separator)}
            if len(parts) > 1 and parts <= labels:
                why = f"the labels {', '.join(sorted(parts))} and {label!r}: for several labels an image"
                option = f"datamodule.multilabel=true datamodule.separator={separator!r}"
                raise RefusedError(f"{key}={path}: {why}, {option}; for one, rename {label!r}", key)


def _columns(row: dict[str, Any], path: Path, key: str, needs_label: bool) -> dict[str, str]:
    """Return the names of the columns that hold file, label and split, as far as there are such."""
    found = {str(name).strip().lower(): name for name in row}
    chosen = {kind: found[name] for kind, names in COLUMNS.items() for name in reversed(names) if name in found}
    for kind in ("file", "label")[: 1 + needs_label]:
        if kind not in chosen:
            why = f"no column {kind} among {', '.join(map(str, [*row][:8]))}; expected file,label or file,label,split"
            raise RefusedError(f"{key}={path}: {why}", key)
    return chosen


def _read_rows(path: Path, key: str) -> list[dict[str, Any]]:
    """Read the rows of a table as dicts. Raises RefusedError if there are none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            rows = json.loads(text)
        elif path.suffix.lower() == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            head = text.partition("\n")[0]
            rows = [*csv.DictReader(text.splitlines(), delimiter=max("\t;,", key=head.count), strict=True)]
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise RefusedError(f"{key}={path}: can't be read as a list of images ({error})", key) from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        why = "expected rows of file,label" if path.suffix.lower() in (".csv", ".tsv") else "expected a list of objects"
        example = json.dumps({"file": "1.png", "label": "cat"})
        raise RefusedError(f"{key}={path}: {why}, such as {example}", key)
    return rows
