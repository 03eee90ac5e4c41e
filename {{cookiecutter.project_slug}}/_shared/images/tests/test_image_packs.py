"""Images in Arrow and Parquet files, written as `datasets` writes them: pixels, classes, splits and refusals."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from {{ cookiecutter.package_name }}.datamodules import image_store
from {{ cookiecutter.package_name }}.datamodules.image_files import Remarks, read_pixels
from {{ cookiecutter.package_name }}.datamodules.image_sources import find_images
from {{ cookiecutter.package_name }}.datamodules.image_store import read_inputs, read_store
from {{ cookiecutter.package_name }}.engine.errors import RefusedError

pa = pytest.importorskip("pyarrow")

SCANS: Any = load_digits()
NAMES = ["zero", "one", "two"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "{{ cookiecutter.package_name }}"


def scan(number: int) -> np.ndarray:
    return (SCANS.images[number] * 255 / 16).astype(np.uint8)


def encoded(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scan(number)).save(buffer, "png")
    return buffer.getvalue()


def table(numbers: range, **columns: Any) -> Any:
    """Scans with their class modulo 3, in the layout of Image and ClassLabel of `datasets`."""
    images = [{"bytes": encoded(number), "path": f"{number}.png"} for number in numbers]
    features = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    classes = pa.array([int(SCANS.target[number]) % 3 for number in numbers], pa.int64())
    made = {"image": pa.array(images, kind), "label": classes, **columns}
    return pa.table({name: each for name, each in made.items() if each is not None}).replace_schema_metadata(metadata)


def write(path: Path, rows: Any, **options: Any) -> Path:
    """Write Parquet, or an Arrow stream as `save_to_disk` does, in batches of 7 rows."""
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(rows, path, row_group_size=7)
    else:
        with pa.ipc.new_stream(path, rows.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
            writer.write_table(rows, max_chunksize=7)
    return path


def labels_of(root: Path, test: Path | None = None) -> dict[str, tuple[str, str]]:
    """Return the class and split of each image by its name."""
    found = find_images(root, test, "required")
    return {found.names[file]: (part.name, part.split) for part in found.parts for file in part.files}


@pytest.mark.parametrize(("suffix", "options"), [("arrow", {}), ("arrow", {"compression": "zstd"}), ("parquet", {})])
def test_pixels_and_classes_are_those_that_were_written(
    suffix: str, options: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    for part in range(2):
        path = tmp_path / "own" / f"data-{part:05}-of-00002.{suffix}"
        write(path, table(range(20 * part, 20 * part + 20)), **options)
    (tmp_path / "own" / "dataset_info.json").write_text("{}")
    found = find_images(tmp_path / "own", None, "required")
    assert len(list(cache.glob("*.arrow"))) == (2 if options or suffix == "parquet" else 0)
    seen = set()
    for part in found.parts:
        for file in part.files:
            pack, _, row = found.names[file].rpartition("/")
            number = 20 * int(pack[5:10]) + int(row)
            assert np.array_equal(np.asarray(read_pixels(file, 1)), scan(number))
            assert part.name == NAMES[SCANS.target[number] % 3]
            seen.add(number)
    assert seen == {*range(40)}


def test_unpacking_is_done_once_and_again_if_the_file_changes(tmp_path: Path, cache: Path, logged: list[str]) -> None:
    path = write(tmp_path / "scans.parquet", table(range(30)))
    for _ in range(2):
        find_images(path, None, "required")
    assert logged == [f"Unpacking the images of scans.parquet into {cache}, once"]
    write(path, table(range(30, 70)))
    assert len(labels_of(path)) == 40


@pytest.mark.parametrize(
    "names",
    [
        ("train/data-00000-of-00001.arrow", "test/data-00000-of-00001.arrow"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("Training.parquet", "testing.arrow"),
    ],
)
def test_splits_are_those_of_file_and_folder_names(names: tuple[str, str], tmp_path: Path) -> None:
    root, (train, test) = tmp_path / "own", names
    (root / "train").mkdir(parents=True)
    write(root / "train" / "cache-1234.arrow", table(range(3)))  # of datasets.map
    write(root / train, table(range(30)))
    write(root / test, table(range(30, 50)))
    labels = labels_of(root)
    assert {split for name, (_, split) in labels.items() if name.startswith(train)} == {"train"}
    assert {split for name, (_, split) in labels.items() if name.startswith(test)} == {"test"}
    assert len(labels) == 50
    assert find_images(root, None, "required").origins == {"train": "files of own", "test": "files of own"}
    assert {split for _, split in labels_of(root / train, root / test).values()} == {"train", "test"}
    alone = write(tmp_path / "alone" / "test-00000-of-00001.arrow", table(range(50, 60))).parent
    assert [split for _, split in labels_of(root / train, alone).values()].count("test") == 10


def test_columns_of_text_name_class_and_split(tmp_path: Path) -> None:
    kinds = pa.array(["cat", "dog"] * 10).dictionary_encode()
    images = pa.array([encoded(number) for number in range(20)], pa.large_binary())
    splits = pa.array(["train", "train", "Validation", "Validation"] * 5)
    rows = pa.table({"img": images, "category": kinds, "subset": splits})
    for name in ("own.arrow", "own.parquet"):
        labels = labels_of(write(tmp_path / name, rows))
        assert labels[f"{name}/0"] == ("cat", "train")
        assert labels[f"{name}/3"] == ("dog", "val")


def test_a_broken_image_is_left_out_and_named(tmp_path: Path) -> None:
    images = [{"bytes": encoded(0)}, {"bytes": b"no image"}, {"bytes": None}, None]
    rows = table(range(4), image=pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()})))
    path, problems = write(tmp_path / "own.arrow", rows), []
    files = [file for part in find_images(path, None, "required", least=1).parts for file in part.files]
    readable, store = read_store(files, (1, 8, 8), "white", "disk", problems, Remarks())
    assert [file.name.partition("@")[0] for file in readable] == ["0"]
    assert len(problems) == 3
    why = "can't be read as an image (UnidentifiedImageError: cannot identify image file '"
    assert all(why in each and "0x" not in each for each in problems)
    assert torch.equal(store[torch.tensor([0])][0, 0], torch.from_numpy(scan(0)))


def test_large_data_is_known_by_rows_sizes_and_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_store, "MAX_CHECKED", 0)
    keys = []
    for name, numbers in (("a", range(20)), ("b", range(20)), ("c", range(20, 40))):
        path = write(tmp_path / name / "own.parquet", table(numbers))
        files = [file for part in find_images(path, None, "required").parts for file in part.files]
        keys.append(read_store(files, (1, 8, 8), "white", "disk", [], Remarks())[1].keys)
    assert not {*keys[0].tolist()} & {*keys[2].tolist()}


def test_predictions_name_the_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "new.arrow", table(range(10), label=None))
    names, images, problems = read_inputs(path, (1, 8, 8))
    assert (names, problems) == ([f"new.arrow/{row}" for row in range(10)], [])
    assert torch.equal(images[torch.tensor([9])][0, 0], torch.from_numpy(scan(9)))


def refused(path: Path) -> str:
    with pytest.raises(RefusedError) as caught:
        find_images(path, None, "required")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_can_not_be_used_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # messages shorten a long path
    folder = Path()
    cases: dict[str, dict[str, Any]] = {
        "no column label among image; expected the class of each image": {"label": None},
        "0 columns of encoded images": {"image": pa.array([[1, 2]] * 9)},
        "2 columns of encoded images": {"image": None, "a": pa.array([b"1"] * 9), "b": pa.array([b"1"] * 9)},
        "row 8 has no label (-1)": {"label": pa.array([0, 1] * 4 + [-1])},
        "row 7 has no label (None)": {"label": pa.array(["a"] * 7 + [None, "b"])},
        "column label is of type double; expected text or whole numbers": {"label": pa.array([0.5] * 9)},
        "no such split as 'extra'; expected train, val or test": {"split": pa.array(["extra"] * 9)},
        "no image of the split train": {"split": pa.array(["test"] * 9)},
    }
    for number, (why, columns) in enumerate(cases.items()):
        for suffix in ("arrow", "parquet"):
            path = write(folder / f"{number}.{suffix}", table(range(9), **columns))
            assert refused(path).startswith(f"datamodule.root={path}: {why}"), refused(path)
    write(folder / "parts" / "data-00001-of-00003.arrow", table(range(9)))
    assert "1 of the 3 files data-…-of-00003 are there" in refused(folder / "parts")
    write(folder / "some" / "train.arrow", table(range(9)))
    write(folder / "some" / "extra.arrow", table(range(9)))
    assert "extra.arrow names no split, and others do" in refused(folder / "some")
    write(folder / "empty.arrow", table(range(9))[:0])
    assert refused(folder / "empty.arrow").endswith("holds no image")


@pytest.mark.parametrize("suffix", ["arrow", "parquet"])
def test_truncated_and_damaged_files_are_refused(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut between two batches of a stream is no error for Arrow."""
    monkeypatch.chdir(tmp_path)  # messages shorten a long path
    folder = Path()
    path = write(folder / f"own.{suffix}", table(range(30)))
    whole = path.read_bytes()
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert refused(path).startswith(f"datamodule.root={path}: ")
    noise = np.random.default_rng(0)
    for _ in range(200):  # it may hit a pixel, but neither crashes nor reads beyond the file
        damaged = bytearray(whole)
        damaged[noise.integers(len(whole))] = noise.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(RefusedError):
            found = find_images(path, None, "required")
            read_store([file for part in found.parts for file in part.files], (1, 8, 8), "white", 1, [], Remarks())
