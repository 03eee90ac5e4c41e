"""Lists of image files: CSV, TSV, JSON and JSON lines with the class and the split of each image."""

import csv
import json
import os
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


def read_list(path: Path, key: str, needs_label: bool) -> list[Listed]:
    """Read a list of images. File names are relative to the folder of the list.

    Raises RefusedError, which names `key` and the row, if a file does not exist, is there twice, or a value is missing.
    """
    rows = _read_rows(path, key)
    names = _columns(rows[0], path, key, needs_label)
    images: dict[Path, int] = {}
    listed, absent = [], []
    for number, row in enumerate(rows, 1):
        values = {kind: str(row.get(name) if row.get(name) is not None else "").strip() for kind, name in names.items()}
        for kind in ("file", "label", "split"):
            if kind in names and not values[kind]:
                raise RefusedError(f"{key}={path}: row {number} has no {names[kind]}", key)
        split = values.get("split", UNSPLIT)
        if split and split.lower() not in SPLIT_NAMES:
            why = f"row {number}: no such split as {split!r}; expected train, val or test"
            raise refusal(key, path, why, SPLIT_NAMES, split.lower())
        file = path.parent / values["file"]
        if (first := images.setdefault(Path(os.path.abspath(file)), number)) != number:
            why = f"{values['file']} is in rows {first} and {number}; expected one row for each image"
            raise RefusedError(f"{key}={path}: {why}", key)
        if not file.is_file():
            absent.append(values["file"])
        split = SPLIT_NAMES.get(split.lower(), UNSPLIT)
        listed.append(Listed(file, Path(values["file"]).as_posix(), values.get("label", ""), split))
    if absent:
        why = f"{len(absent):,} of {len(rows):,} files do not exist, such as {absent[0]}"
        raise RefusedError(f"{key}={path}: {why}; expected names relative to {path.parent}", key)
    if "split" in names and "train" not in {each.split for each in listed}:
        raise RefusedError(f"{key}={path}: no image of the split train", key)
    return listed


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
