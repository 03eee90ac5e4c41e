"""Image files: which are read, with which pixel values, classes and splits. Expected values use Pillow and NumPy."""

import io
import os
import random
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from {{ cookiecutter.package_name }}.datamodules.image_files import (
    UNREADABLE,
    Remarks,
    decode,
    look_into,
    read_pixels,
    srgb_transform,
)
from {{ cookiecutter.package_name }}.datamodules.image_sources import class_folders
from {{ cookiecutter.package_name }}.datamodules.image_splits import LabelledImages, divide, read_labelled
from {{ cookiecutter.package_name }}.datamodules.image_store import read_inputs, resized
from {{ cookiecutter.package_name }}.engine.errors import RefusedError

NOISE = np.random.default_rng(0).integers(0, 256, (6, 9, 4)).astype(np.uint8)
RGBA = Image.fromarray(NOISE)
DEEP = np.arange(54, dtype=np.uint16).reshape(6, 9) * 1236  # 0 to 65,508
EXACT = {"lossless": True, "exact": True}  # options of WebP; other formats ignore them


def written_and_read(image: Image.Image, path: Path, background: str = "white") -> np.ndarray:
    """Pixels (H, W, 3) in 0–255 after writing and reading."""
    image.save(path, **EXACT)
    return np.asarray(read_pixels(path, 3, background)).astype(int)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=-1)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.bmp", "a.tif", "a.gif"])
def test_colours_are_those_that_were_written(name: str, tmp_path: Path) -> None:
    image = RGBA.convert("RGB").quantize(54) if name == "a.gif" else RGBA.convert("RGB")
    assert np.array_equal(written_and_read(image, tmp_path / name), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_other_modes_are_those_of_pillow(mode: str, tmp_path: Path) -> None:
    image = RGBA.convert("RGB").convert(mode)
    assert np.array_equal(written_and_read(image, tmp_path / "a.tif"), np.asarray(image.convert("RGB")))
    assert np.array_equal(np.asarray(read_pixels(tmp_path / "a.tif", 1)), np.asarray(image.convert("RGB").convert("L")))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bits_are_divided_not_cut_off(name: str, tmp_path: Path) -> None:
    read = written_and_read(Image.fromarray(DEEP), tmp_path / name)
    assert np.array_equal(read, grey(np.round(DEEP / 65535 * 255)))
    assert decode(tmp_path / name).reduced
    floats = Image.fromarray((DEEP / 65535).astype(np.float32))
    assert np.array_equal(written_and_read(floats, tmp_path / "b.tif"), read)


def test_16_bits_that_are_nearly_black_are_noticed(tmp_path: Path) -> None:
    for most, dark in ((230, True), (4095, True), (60000, False)):
        pixels = np.linspace(0, most, 64).astype(np.uint16).reshape(8, 8)
        Image.fromarray(pixels).save(tmp_path / "deep.png")
        assert decode(tmp_path / "deep.png").dark is dark


def test_values_whose_white_is_not_known_are_not_read(tmp_path: Path) -> None:
    for values in (DEEP.astype(np.int32), DEEP.astype(np.float32), np.full((4, 4), np.nan, np.float32)):
        Image.fromarray(values).save(tmp_path / "a.tif")
        with pytest.raises(UNREADABLE, match="8 or 16"):
            decode(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_colours_of_a_profile_are_converted_to_srgb(name: str, tmp_path: Path) -> None:
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    plain = Image.new("RGB", (9, 7), (230, 60, 50))
    plain.save(tmp_path / name, icc_profile=bytes(content), quality=100, lossless=True)
    assert srgb_transform(decode(tmp_path / name).profile) is None
    places = {bytes(content[at : at + 4]): at for at in range(132, 132 + 12 * 20, 12)}
    red, blue = places[b"rXYZ"], places[b"bXYZ"]
    content[red : red + 4], content[blue : blue + 4] = b"bXYZ", b"rXYZ"  # swaps red and blue
    plain.save(tmp_path / name, icc_profile=bytes(content), quality=100, lossless=True)
    image = decode(tmp_path / name)
    shown = resized(image, (3, 7, 9), "white")
    assert np.abs(shown.permute(1, 2, 0).numpy().astype(int) - (50, 60, 230)).max() <= 2
    assert Remarks().traits(image) == ["converted to sRGB from the colour profile in their file"]
    plain.save(tmp_path / name, icc_profile=b"broken", quality=100, lossless=True)
    assert srgb_transform(decode(tmp_path / name).profile) is None


def profile_of(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile of ICC version 2 for pixels of `space`."""
    white = struct.pack(">3i", *(round(value * 65536) for value in (0.9642, 1, 0.8249)))
    name = struct.pack(">I", 5) + b"test\0" + bytes(79)
    tags = {b"desc": b"desc" + bytes(4) + name, b"wtpt": b"XYZ " + bytes(4) + white, **tags}
    table, body, begin = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">2I", begin + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I", begin + len(body)) + b"\0\0\0\0\x02\x10\0\0prtr" + space + connection + bytes(12) + b"acsp"
    return head + bytes(68 - len(head)) + white + bytes(48) + struct.pack(">I", len(tags)) + table + body


def linear_grey() -> bytes:
    """The profile of grey values that are proportional to light."""
    return profile_of(b"GRAY", b"XYZ ", {b"kTRC": b"curv" + bytes(8)})


def grey_inks() -> bytes:
    """The profile of four inks, each of which darkens white paper (L* 100) by half; all together, or two, are black."""
    curve = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (number % 4 == 0) for number in range(9)))
    cells = [bytes([max(0, 255 - 128 * number.bit_count()), 128, 128]) for number in range(16)]  # of no ink, or some
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + 4 * curve + b"".join(cells) + 3 * curve
    return profile_of(b"CMYK", b"Lab ", {b"A2B0": table})


def test_grey_of_a_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    values = np.array([[0, 32, 128, 255]] * 4, np.uint8)
    alpha = Image.new("L", (4, 4), 255)
    alpha.putpixel((0, 0), 0)
    plain = Image.fromarray(values)
    for name, image in (("a.png", plain), ("a.tif", plain), ("b.png", Image.merge("LA", [plain, alpha]))):
        image.save(tmp_path / name, icc_profile=linear_grey())
        decoded = decode(tmp_path / name)
        for channels in (1, 3):
            shown = resized(decoded, (channels, 4, 4), "black").numpy()
            assert np.abs(shown[:, 1].astype(int) - [0, 99, 188, 255]).max() <= 1  # of the curve of sRGB
        assert "converted to sRGB from the colour profile in their file" in Remarks().traits(decoded)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_of_a_profile_is_converted_to_srgb_and_turned(name: str, tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 8), (0, 0, 0, 0))
    image.paste((255, 0, 0, 0), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / name, icc_profile=grey_inks(), exif=exif, quality=100)
    decoded = decode(tmp_path / name)
    shown = resized(decoded, (3, 8, 16), "white").numpy()
    assert np.abs(shown[:, 4, 4].astype(int) - 255).max() <= 2  # paper
    assert np.abs(shown[:, 4, 12].astype(int) - 119).max() <= 2  # L* 50; Pillow alone shows it as (0, 255, 255)
    assert Remarks().traits(decoded) == ["converted to sRGB from the colour profile in their file"]
    assert decoded.profile is None
    image.save(tmp_path / name, icc_profile=linear_grey(), quality=100)  # for other pixels: not used
    assert np.abs(read_pixels_of(tmp_path / name)[4, 4] - (0, 255, 255)).max() <= 2


def read_pixels_of(path: Path) -> np.ndarray:
    return np.asarray(read_pixels(path, 3)).astype(int)


def test_decoders_that_start_programs_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow passes EPS to Ghostscript, whatever the file is called."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    for name in ("Popen", "call", "check_call", "check_output", "run"):
        monkeypatch.setattr(subprocess, name, lambda *words, **_: pytest.fail(f"{words} was started"))
    with pytest.raises(UNREADABLE):
        decode(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").format == "EPS"


@pytest.mark.parametrize(("background", "rgb"), [("white", (255, 255, 255)), ("#204060", (32, 64, 96))])
def test_what_is_transparent_shows_the_background(background: str, rgb: tuple[int, ...], tmp_path: Path) -> None:
    def over(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        return pixels * (alpha[..., None] / 255) + np.array(rgb) * (1 - alpha[..., None] / 255)

    alpha = NOISE[..., 3]
    two = Image.merge("LA", [RGBA.getchannel("R"), RGBA.getchannel("A")])
    cases = [
        *((RGBA, name, over(NOISE[..., :3], alpha)) for name in ("a.png", "a.tif", "a.webp")),
        *((two, name, over(grey(NOISE[..., 0]), alpha)) for name in ("b.png", "b.tif")),
    ]
    palette = RGBA.convert("RGB").quantize(54)
    palette.info["transparency"] = 7
    hidden = np.where(np.asarray(palette) == 7, 0, 255)
    cases += [(palette, name, over(np.asarray(palette.convert("RGB")), hidden)) for name in ("c.png", "c.gif")]
    deep = Image.fromarray(DEEP)
    deep.info["transparency"] = int(DEEP[2, 3])
    cases += [(deep, "d.png", over(grey(DEEP / 257), np.where(DEEP[2, 3] == DEEP, 0, 255)))]
    for image, name, expected in cases:
        assert np.abs(written_and_read(image, tmp_path / name, background) - expected).max() <= 1, name


def test_images_are_turned_as_their_exif_orientation_says(tmp_path: Path) -> None:
    turns = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: np.rot90,
    }  # fmt: skip
    for number, turn in turns.items():
        exif = Image.Exif()
        exif[274] = number
        for name in ("a.png", "a.webp", "a.tif"):
            RGBA.convert("RGB").save(tmp_path / name, exif=exif, **EXACT)
            read = np.asarray(read_pixels(tmp_path / name, 3))
            assert np.array_equal(read, turn(NOISE[..., :3])), (number, name)


def test_a_broken_file_of_any_format_is_one_that_can_not_be_read(tmp_path: Path) -> None:
    dice = random.Random(0)
    for kind in ("PNG", "WEBP", "BMP", "GIF", "JPEG"):  # without TIFF: libtiff writes to the terminal
        whole = io.BytesIO()
        RGBA.convert("RGB").save(whole, kind)
        for _ in range(60):
            content = bytearray(whole.getvalue())
            for _ in range(dice.choice((1, 3, 20))):
                content[dice.randrange(len(content))] = dice.randrange(256)
            (tmp_path / "a.png").write_bytes(content[: dice.randrange(1, 2 * len(content))])
            try:
                decode(tmp_path / "a.png")
            except UNREADABLE:
                continue


def lay(root: Path, names: str) -> Path:
    """Write small images, all different, at the paths in `names`."""
    for number, name in enumerate(names.split()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (4, 4, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / name)
    return root


def many(folders: str, count: int = 6) -> str:
    return " ".join(f"{folder}/{number}.png" for folder in folders.split() for number in range(count))


def test_hidden_and_other_files_are_left_out_and_counted(tmp_path: Path) -> None:
    root = lay(tmp_path / "data", many("cat dog"))
    lay(root, "cat/.ipynb_checkpoints/0.png .git/0.png __MACOSX/cat/0.png cat/._0.png dog/@eaDir/0.png dog/a.jpeg")
    lay(root, "$RECYCLE.BIN/0.png cat/.hidden.png")
    for name in ("Thumbs.db", "desktop.ini", "cat/.DS_Store", "cat/notes.txt", "dog/label.xml"):
        (root / name).write_text("no image")
    data = read_labelled(root, (3, 4, 4), "white")
    assert sorted(data.ids) == sorted([*many("cat dog").split(), "dog/a.jpeg"])
    assert data.class_names == ["cat", "dog"]
    hidden, others, classes = data.remarks
    assert hidden.startswith("Left out as hidden or system files: 10 ($RECYCLE.BIN, .git, ")
    assert others == "Left out as not images: 2 (cat/notes.txt, dog/label.xml)"
    assert classes == "Classes: cat 6, dog 7"
    names, images, problems = read_inputs(root, (3, 4, 4))
    assert (sorted(names), len(images), problems) == (sorted(data.ids), 13, [])


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    root = lay(tmp_path / "data", many("cat", 2))
    elsewhere = lay(tmp_path / "elsewhere", many("dogs", 2))
    (root / "dog").symlink_to(elsewhere / "dogs")
    (root / "cat" / "2.png").symlink_to(elsewhere / "dogs" / "0.png")
    (root / "cat" / "again").symlink_to(root)
    (root / "cat" / "up").symlink_to(tmp_path)
    (root / "cat" / "gone.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(root / "cat" / "pipe.png")
    found = look_into(root)
    assert [path.relative_to(root).as_posix() for path in found.images] == [
        "cat/0.png", "cat/1.png", "cat/2.png", "dog/0.png", "dog/1.png",
    ]  # fmt: skip
    assert [path.name for path in found.others] == ["again", "gone.png", "pipe.png", "up"]


FOLDERS = {  # layout of folders: expected classes by split
    "cat dog": {"": "cat dog"},
    "train/cat train/dog val/cat val/dog test/cat test/dog": {"train": "cat dog", "val": "cat dog", "test": "cat dog"},
    "Train/cat Train/dog VALID/cat Testing/dog": {"train": "cat dog", "val": "cat", "test": "dog"},
    "train/cat train/dog test/cat": {"train": "cat dog", "test": "cat"},
    "training/cat training/dog dev/cat": {"train": "cat dog", "val": "cat"},
    "train/cat train/dog": {"train": "cat dog"},
    "train/cat/young train/dog/young validation/cat/old": {"train": "cat dog", "val": "cat"},
    "train bus": {"": "bus train"},  # here train is a vehicle
    "train test bus": {"": "bus test train"},
    "train/steam train/electric bus/city": {"": "bus train"},
    "train test": {"": "test train"},
}


@pytest.mark.parametrize("layout", FOLDERS)
def test_structure_tells_splits_from_classes(layout: str, tmp_path: Path) -> None:
    found: dict[str, list[str]] = {}
    for part in class_folders(look_into(lay(tmp_path, many(layout, 2))), one_class=False):
        found.setdefault(part.split, []).append(part.name)
    assert {split: " ".join(names) for split, names in found.items()} == FOLDERS[layout]


@pytest.mark.parametrize(
    ("layout", "why"),
    [
        ("train/cat train/dog test/cat test/bird", "test/bird is not a class of train (cat, dog)"),
        ("train/cat train/dog test", "test holds images outside of class folders; expected test/<class>/"),
        ("train/cat train/dog test/cat more/cat", "more beside the splits test, train"),
        ("val/cat val/dog test/cat", "test, val: expected one folder of train"),
        ("train/cat train/dog val/cat valid/cat", "train, val, valid: expected one folder of train, and at most one"),
        ("training_set/cat training_set/dog test_set/cat test_set/dog", "are these splits? Splits are recognised by"),
        ("cat", "folders with images: 1; expected 2 classes or more"),
        ("data/cat data/dog", "/data?"),
    ],
)
def test_folders_that_are_neither_are_refused_by_name(layout: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        class_folders(look_into(lay(tmp_path, many(layout, 2))), one_class=False)
    assert str(refused.value).startswith("datamodule.root=")
    assert why in str(refused.value)


def test_a_class_without_images_is_refused_by_name(tmp_path: Path) -> None:
    root = lay(tmp_path, many("cat dog"))
    (root / "third").mkdir()
    for content in ({}, {"a.txt": b"text"}, {".a.png": b"hidden"}, {f"{n}.png": b"broken" for n in range(9)}):
        for name, text in content.items():
            (root / "third" / name).write_bytes(text)
        with pytest.raises(RefusedError, match=r"third (holds no image file|has 0 images .* of 9 files)"):
            read_labelled(root, (3, 4, 4), "white")


def parts_of(data: LabelledImages, **options: int) -> dict[str, set[str]]:
    folds, fold = options.get("folds"), options.get("fold")
    parts = divide(data, 0.2, 0.25, options.get("seed", 0), folds, fold)
    return {split: {data.ids[number] for number in part.tolist()} for split, part in parts.items()}


def test_splits_that_are_folders_are_used_and_others_cut_from_train(tmp_path: Path, logged: list[str]) -> None:
    def given(*splits: str) -> tuple[LabelledImages, dict[str, set[str]]]:
        folders = " ".join(f"{split}/{name}" for split in splits for name in ("cat", "dog"))
        data = read_labelled(lay(tmp_path / "-".join(splits), many(folders, 10)), (3, 4, 4), "white")
        return data, {split: {name for name in data.ids if name.startswith(f"{split}/")} for split in splits}

    data, folders = given("train", "val", "test")
    assert parts_of(data) == folders
    assert "Splits: train 20 (folder train), val 20 (folder val), test 20 (folder test)" in logged
    measured = divide(data, 0.0, 1.0, 0, None, None)  # as evaluate.py does on other data
    assert {data.ids[number] for number in measured["test"].tolist()} == folders["test"]
    folds = [parts_of(data, folds=4, fold=number) for number in (1, 2, 3, 4)]
    assert all(parts["test"] == folders["test"] for parts in folds)
    assert set.union(*(parts["val"] for parts in folds)) == folders["train"] | folders["val"]
    cut = {
        "val": "train 16 (the rest of folder train), val 4 (val_fraction=0.2 of folder train), test 20 (folder test)",
        "test": "train 15 (the rest of folder train), val 20 (folder val), test 5 (test_fraction=0.25 of folder train)",
    }
    for missing, kept in (("val", "test"), ("test", "val")):
        data, folders = given("train", kept)
        parts = parts_of(data)
        assert parts[kept] == folders[kept]
        assert parts["train"] | parts[missing] == folders["train"]
        assert len(parts[missing]) == {"val": 4, "test": 5}[missing]
        assert f"Splits: {cut[missing]}" in logged


def test_equal_images_stay_in_one_split_and_are_logged(logged: list[str]) -> None:
    images = torch.rand(60, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images[20:30], images[40:45] = images[:10], images[:5]
    targets = torch.arange(60) % 2
    data = LabelledImages(images, targets, ["a", "b"], [str(number) for number in range(60)])
    for seed in range(5):
        parts = parts_of(data, seed=seed)
        assert sorted(map(len, parts.values())) != [60]
        assert set.union(*parts.values()) == {*data.ids}
        split_of = {name: split for split, part in parts.items() for name in part}
        assert all(split_of[str(number)] == split_of[str(number + 20)] for number in range(10))
    assert "Images kept in the same split as their exact copy: 15" in logged
    mixed = LabelledImages(images, (torch.arange(60) >= 40).long(), ["a", "b"], data.ids)
    parts_of(mixed)
    assert any(line.startswith("Images with a copy in another class: 5, e.g. ") for line in logged)
    given = LabelledImages(images, targets, ["a", "b"], data.ids, splits=["train"] * 20 + ["val"] * 20 + ["test"] * 20)
    parts_of(given)
    assert any(line.startswith("Images of val and test with a copy in another split: 15, e.g. ") for line in logged)


def test_a_class_of_one_image_copied_is_divided_with_a_warning(logged: list[str]) -> None:
    images = torch.zeros(40, 1, 4, 4)
    images[20:] = 1
    parts_of(LabelledImages(images, torch.arange(40) // 20, ["black", "white"], [str(number) for number in range(40)]))
    assert any("with a copy in another split: 18, e.g. " in line for line in logged)


def test_arrays_and_folders_that_can_not_be_predicted_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "nan.npy", np.full((2, 4, 4), np.nan))
    (tmp_path / "empty").mkdir()
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".a.png").write_bytes(b"hidden")
    for name, why in {"nan.npy": "expected uint8, or floats", "empty": "no image file", "hidden": "no image"}.items():
        with pytest.raises(RefusedError, match=why):
            read_inputs(tmp_path / name, (1, 4, 4))


def test_images_that_do_not_fit_into_memory_are_refused(tmp_path: Path) -> None:
    root = lay(tmp_path, many("cat dog"))
    with pytest.raises(RefusedError, match=r"datamodule.size=60000: 8 images of 3x60000x60000 at a time take 172.8 GB"):
        read_labelled(root, (3, 60_000, 60_000), "white")
