"""Lists of images, and test images of their own: which split each image is in, and what is refused."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from {{ cookiecutter.package_name }}.datamodules.image_sources import find_images
from {{ cookiecutter.package_name }}.datamodules.image_splits import LabelledImages, divide, read_labelled
from {{ cookiecutter.package_name }}.engine.errors import RefusedError

NAMES = ("zero", "one", "two")


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, str]]:
    """Scans of digits in one folder, and a row for each with its split."""
    digits: Any = load_digits()
    (tmp_path / "scans").mkdir()
    rows = []
    for number, (scan, target) in enumerate(zip(digits.images[:120], digits.target[:120] % 3, strict=True)):
        Image.fromarray((scan * 255 / 16).astype(np.uint8)).save(tmp_path / "scans" / f"{number:03}.png")
        split = ("train", "Valid", "TEST", "training")[number // 3 % 4]
        rows.append({"file": f"scans/{number:03}.png", "label": NAMES[target], "split": split})
    return rows


def write(path: Path, rows: list[dict[str, str]], *columns: str, delimiter: str = ",") -> Path:
    rows = [{name: row[name] for name in columns} for row in rows]
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, columns, delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    return path


def read(
    root: Path, test: Path | None = None, test_fraction: float = 0.25
) -> tuple[LabelledImages, dict[str, list[str]]]:
    data = read_labelled(root, (1, 8, 8), "white", test=test)
    parts = divide(data, 0.2, test_fraction, 0, None, None)
    return data, {split: sorted(data.ids[number] for number in part.tolist()) for split, part in parts.items()}


@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.json", "list.jsonl", "semicolon.csv"])
def test_a_list_names_the_class_and_split_of_each_image(
    name: str, rows: list[dict[str, str]], tmp_path: Path, logged: list[str]
) -> None:
    delimiter = {"list.tsv": "\t", "semicolon.csv": ";"}.get(name, ",")
    path = write(tmp_path / name, rows, "file", "label", "split", delimiter=delimiter)
    data, parts = read(path)
    assert {name: data.class_names[target] for name, target in zip(data.ids, data.targets, strict=True)} == {
        row["file"]: row["label"] for row in rows
    }
    short = {"train": "train", "training": "train", "Valid": "val", "TEST": "test"}
    for split, names in parts.items():
        assert names == sorted(row["file"] for row in rows if short[row["split"]] == split)
    counts = {split: f"{len(names)} (column of {name})" for split, names in parts.items()}
    assert "Splits: " + ", ".join(f"{split} {text}" for split, text in counts.items()) in logged
    assert any(line.startswith("Classes of train: one ") for line in logged)


def test_a_list_without_splits_is_divided_at_random(rows: list[dict[str, str]], tmp_path: Path) -> None:
    _, parts = read(write(tmp_path / "list.csv", rows, "label", "file"))
    assert {split: len(names) for split, names in parts.items()} == {"train": 66, "val": 24, "test": 30}
    assert sorted(name for names in parts.values() for name in names) == [row["file"] for row in rows]


def folders(root: Path, rows: list[dict[str, str]], source: Path) -> Path:
    for row in rows:
        (root / row["label"]).mkdir(parents=True, exist_ok=True)
        (root / row["label"] / Path(row["file"]).name).write_bytes((source / row["file"]).read_bytes())
    return root


def test_all_of_the_test_data_is_the_test_set(rows: list[dict[str, str]], tmp_path: Path, logged: list[str]) -> None:
    first, last = rows[:80], rows[80:]
    lists = write(tmp_path / "a.csv", first, "file", "label"), write(tmp_path / "b.json", last, "file", "label")
    roots = folders(tmp_path / "all", first, tmp_path), folders(tmp_path / "all" / "held out", last, tmp_path)
    apart = folders(tmp_path / "apart", first, tmp_path), folders(tmp_path / "other", last, tmp_path)
    for root, test in (lists, roots, apart, (lists[0], apart[1]), (apart[0], lists[1])):
        logged.clear()
        data, parts = read(root, test, test_fraction=0)
        assert data.class_names == sorted(NAMES)
        assert {Path(name).name for name in parts["test"]} == {Path(row["file"]).name for row in last}
        assert {Path(name).name for name in parts["train"] + parts["val"]} == {Path(row["file"]).name for row in first}
        origin = f"datamodule.root={root}"
        rest = f"train 64 (the rest of {origin}), val 16 (val_fraction=0.2 of {origin})"
        assert f"Splits: {rest}, test 40 (datamodule.test={test})" in logged


def test_images_that_are_in_both_lists_are_tested_alone(
    rows: list[dict[str, str]], tmp_path: Path, logged: list[str]
) -> None:
    everything = write(tmp_path / "all.csv", rows, "file", "label")
    test = write(tmp_path / "test.csv", rows[100:], "file", "label")
    _, parts = read(everything, test)
    assert parts["test"] == [row["file"] for row in rows[100:]]
    assert len(parts["train"] + parts["val"]) == 100
    assert "Left out of train and val, as they are in datamodule.test: 20 images" in logged


def test_what_is_missing_or_twice_in_a_list_is_refused_by_row(rows: list[dict[str, str]], tmp_path: Path) -> None:
    columns = ("file", "label", "split")
    cases: dict[str, tuple[list[dict[str, str]], tuple[str, ...]]] = {
        "row 2 has no label": ([rows[0], {**rows[1], "label": " "}], columns),
        "rows 1 and 3; expected one row for each image": ([*rows[:2], rows[0]], columns),
        "rows 1 and 2; expected one row": ([rows[0], {**rows[1], "file": f"no/../{rows[0]['file']}"}], columns),
        "1 of 120 files do not exist, such as no.png": ([*rows[1:], {**rows[0], "file": "no.png"}], columns),
        "row 1: no such split as 'trian'; expected train, val or test; did you mean train": (
            [{**rows[0], "split": "trian"}],
            columns,
        ),
        "no column label among file, split": (rows, ("file", "split")),
        "no image of the split train": ([row for row in rows if row["split"] == "TEST"], columns),
        "classes: 1; expected 2 classes or more": ([row for row in rows if row["label"] == "one"], ("file", "label")),
        "is not a class of train": ([*rows, {**rows[3], "file": "list.csv", "label": "four"}], columns),
    }
    for why, (content, names) in cases.items():
        with pytest.raises(RefusedError) as refused:
            read(write(tmp_path / "list.csv", content, *names))
        assert str(refused.value).startswith("datamodule.root=")
        assert why in str(refused.value)
        assert "\n" not in str(refused.value)
    broken = {"a.json": "{", "b.json": "[1]", "c.csv": "", "d.jsonl": "[" * 100_000, "e.txt": "file,label"}
    for name, text in broken.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(RefusedError, match=rf"^datamodule.root=.*{name}: .*(list of images|expected )"):
            read(tmp_path / name)


def test_test_data_that_does_not_fit_is_refused(rows: list[dict[str, str]], tmp_path: Path) -> None:
    data = write(tmp_path / "data.csv", rows[:60], "file", "label")
    cases = {
        "is not a class of train (one, two, zero)": [{**row, "label": "four"} for row in rows[60:]],
        "it has splits of its own": rows,
    }
    for why, content in cases.items():
        columns = ("file", "label", "split")[: 2 + (why[0] == "i" and content is rows)]
        with pytest.raises(RefusedError, match=r"^datamodule.test=") as refused:
            read(data, write(tmp_path / "test.csv", content, *columns))
        assert why in str(refused.value)
    divided = write(tmp_path / "divided.csv", rows, "file", "label", "split")
    with pytest.raises(RefusedError, match=r"datamodule.test=.*: datamodule.root=.* has splits of its own .*one test"):
        read(divided, write(tmp_path / "test.csv", rows[60:], "file", "label"))
    with pytest.raises(RefusedError, match=r"datamodule.test_fraction=0: leaves no images to test on"):
        read(data, test_fraction=0)


def test_test_data_in_or_around_the_rest_is_not_trained_on(rows: list[dict[str, str]], tmp_path: Path) -> None:
    data, test = tmp_path / "data", tmp_path / "data" / "test"
    for row in rows:
        file = data / row["label"] / Path(row["file"]).name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((tmp_path / row["file"]).read_bytes())
    for root, classes in ((data, "required"), (data / "one", "none")):
        with pytest.raises(RefusedError, match=r"^datamodule\.root="):
            find_images(root, Path(os.path.relpath(data)), classes)
    for row in rows[::3]:
        (test / row["label"]).mkdir(parents=True, exist_ok=True)
        (test / row["label"] / Path(row["file"]).name).symlink_to(tmp_path / row["file"])
    found = find_images(data, Path(os.path.relpath(test)), "none")
    trained = [file for part in found.parts if part.split == "train" for file in part.files]
    assert len(trained) == len(rows)
    assert not any(file.is_symlink() for file in trained)


def test_images_without_classes_need_no_labels(rows: list[dict[str, str]], tmp_path: Path) -> None:
    found = find_images(write(tmp_path / "list.csv", rows, "file", "split"), None, "none")
    assert {part.split: len(part.files) for part in found.parts} == {"train": 60, "val": 30, "test": 30}
    one = read_labelled(write(tmp_path / "scans.csv", rows, "file"), (1, 8, 8), "white", one_class=True)
    assert one.class_names == ["scans"]
