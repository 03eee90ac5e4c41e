"""Evaluation on other images: training images are recognised by content, even if cut differently."""

import shutil
from pathlib import Path

from starter import photograph, write_own_data

from {{ cookiecutter.package_name }}.datamodules.image_folder import ImageFolderDataModule


def test_images_of_training_are_known_again_by_content(tmp_path: Path) -> None:
    write_own_data(tmp_path / "own")
    own = ImageFolderDataModule(root=tmp_path / "own")
    own.setup("fit")
    other = tmp_path / "other"
    other.mkdir()
    photograph(0, 0, 0, 320, 300).save(other / "new.png")  # a crop of a training image counts as another image
    shutil.copy(tmp_path / "own" / "temple.png", other / "renamed.png")
    data = ImageFolderDataModule(root=other, region=32, patch=24)
    data.take_whole()
    data.setup("test")
    assert [len(data.splits[split][0]) for split in ("train", "val")] == [0, 0]
    copies = [name.startswith("renamed.png ") for name in data.ids["test"]]
    found = data.is_seen(own.trained_on())
    assert found.tolist() == copies
    assert 0 < sum(copies) < len(copies)
    data.keep_in_test(~found)
    assert {name.split()[0] for name in data.ids["test"]} == {"new.png"}
    assert len(data.dataset("test")) == len(data.ids["test"])
