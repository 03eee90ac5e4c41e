"""Evaluation on other images: training images are recognised by content, even if cut differently."""

import shutil
from pathlib import Path

import numpy as np
from starter import photograph, write_own_data

from {{ cookiecutter.package_name }}.datamodules.image_folder import ImageFolderDataModule


def test_regions_of_training_are_known_again_by_content(tmp_path: Path) -> None:
    write_own_data(tmp_path / "own")
    own = ImageFolderDataModule(root=tmp_path / "own")
    own.setup("fit")
    assert not own.is_seen(own.trained_on()).any()  # regions of the same image, but of other places
    trained = np.zeros((320, 420), bool)  # pixels of temple.png
    for name, place in (each.split() for split in ("train", "val") for each in own.ids[split]):
        if name == "temple.png":
            top, left = map(int, place.split(","))
            trained[top : top + 64, left : left + 64] = True
    other = tmp_path / "other"
    other.mkdir()
    photograph(0, 0, 0, 320, 300).save(other / "new.png")  # a crop of a training image counts as another image
    shutil.copy(tmp_path / "own" / "temple.png", other / "renamed.png")
    data = ImageFolderDataModule(root=other, region=32, patch=24)
    data.take_whole()
    data.setup("test")
    assert [len(data.splits[split][0]) for split in ("train", "val")] == [0, 0]
    found = data.is_seen(own.trained_on())
    for name, each in zip(data.ids["test"], found, strict=True):
        top, left = map(int, name.split()[1].split(","))
        part = trained[top : top + 32, left : left + 32]
        if name.startswith("new.png ") or not part.any():
            assert not each, name
        elif part.mean() >= 0.5:
            assert each, name
    renamed = sum(name.startswith("renamed.png ") for name in data.ids["test"])
    assert 0 < sum(found) < renamed < len(found)
    data.keep_in_test(~found)
    assert len(data.dataset("test")) == len(data.ids["test"]) == len(found) - sum(found)


def test_of_an_image_trained_on_as_a_whole_every_region_is_known_again(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / "own").mkdir(exist_ok=True)
        photograph(number % 2, 20 * number, 10 * number, 100, 110).save(tmp_path / "own" / f"{number}.png")
    own = ImageFolderDataModule(tmp_path / "own", region=48, gap=2)
    own.setup()
    assert not own.is_seen(own.trained_on()).any()
    data = ImageFolderDataModule(tmp_path / "own", region=24, patch=24, gap=0)
    data.take_whole()
    data.setup("test")
    tested = {name.split()[0] for name in own.ids["test"]}
    assert data.is_seen(own.trained_on()).tolist() == [name.split()[0] not in tested for name in data.ids["test"]]
