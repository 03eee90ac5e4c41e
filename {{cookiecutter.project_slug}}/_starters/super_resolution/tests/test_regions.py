"""Super-resolution data beyond the contract of datamodules: disjoint regions, crops, low images."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import options
from omegaconf import DictConfig
from PIL import Image
from starter import photograph
from torch import Tensor

from {{ cookiecutter.package_name }}.datamodules import image_folder
from {{ cookiecutter.package_name }}.datamodules.augmentation import random_crops
from {{ cookiecutter.package_name }}.datamodules.image_files import as_tensor
from {{ cookiecutter.package_name }}.datamodules.image_folder import ImageFolderDataModule
from {{ cookiecutter.package_name }}.datamodules.resize import downscale
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.engine.logs import log
from {{ cookiecutter.package_name }}.engine.training.train import build_datamodule

Configure = Callable[..., DictConfig]


@pytest.mark.parametrize("option", options("datamodule"))
@pytest.mark.parametrize("words", [(), ("++datamodule.folds=3", "++datamodule.fold=2")], ids=["plain", "fold"])
def test_regions_of_two_splits_never_touch(option: str, words: tuple[str, ...], configure: Configure) -> None:
    data = build_datamodule(configure(f"datamodule={option}", *words))
    images = dict(data.load_images())
    places = {split: [(*each.rsplit(" ", 1),) for each in ids] for split, ids in data.ids.items()}
    for split, regions in data.splits.items():  # the ids give the positions
        for region, (name, place) in zip(regions[0], places[split], strict=True):
            top, left = map(int, place.split(","))
            assert torch.equal(region, images[name][:, top : top + data.region, left : left + data.region])
    for one, other in combinations(places, 2):
        for name, place in places[one]:
            for other_name, other_place in places[other]:
                (top, left), (other_top, other_left) = (map(int, each.split(",")) for each in (place, other_place))
                distance = max(abs(top - other_top), abs(left - other_left)) - data.region
                assert name != other_name or distance >= data.gap > 8  # 8 is the side of a JPEG block


def test_of_many_images_whole_ones_are_held_out(tmp_path: Path) -> None:
    for number in range(12):
        photograph(number % 2, 20 * number, 10 * number, 100, 110).save(tmp_path / f"{number}.png")
    data = ImageFolderDataModule(tmp_path, region=48, gap=2)
    data.setup()
    of = {split: {each.split()[0] for each in ids} for split, ids in data.ids.items()}
    assert sum(map(len, of.values())) == len(set.union(*of.values())) == 12
    assert len(of["train"]) > 6


def test_images_that_do_not_fit_into_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice 3 bytes a pixel: of the image, and of the regions cut from it."""
    photograph(0, 0, 0, 200, 100).save(tmp_path / "1.png")
    (tmp_path / "broken.png").write_bytes(b"not an image")
    monkeypatch.setattr(image_folder, "free_memory", lambda: 119_999)
    with pytest.raises(RefusedError, match=r"2 images take 0.0 GB of memory; 0.0 GB are free; give fewer or smaller"):
        ImageFolderDataModule(tmp_path, region=48).setup()
    monkeypatch.setattr(image_folder, "free_memory", lambda: 120_000)
    ImageFolderDataModule(tmp_path, region=48).setup()


def loaded(root: Path, caplog: pytest.LogCaptureFixture) -> ImageFolderDataModule:
    """Set up a datamodule of the images in `root`, with what it logs in `caplog`."""
    data = ImageFolderDataModule(root)
    log.addHandler(caplog.handler)
    try:
        data.setup()
    finally:
        log.removeHandler(caplog.handler)
    return data


def test_images_that_come_divided_stay_so_and_copies_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, name in enumerate(("train/1.png", "train/more/2.png", "val/3.png", "test/4.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        photograph(number % 2, 40 * number, 10, 140, 150).save(tmp_path / name)
    (tmp_path / "train" / "copy.png").write_bytes((tmp_path / "train" / "1.png").read_bytes())
    (tmp_path / "test" / "leak.png").write_bytes((tmp_path / "train" / "1.png").read_bytes())
    (tmp_path / "val" / ".hidden.png").write_bytes((tmp_path / "val" / "3.png").read_bytes())
    data = loaded(tmp_path, caplog)
    images = {split: {each.split()[0] for each in ids} for split, ids in data.ids.items()}
    assert images["train"] in ({"train/1.png", "train/more/2.png"}, {"train/copy.png", "train/more/2.png"})
    assert (images["val"], images["test"]) == ({"val/3.png"}, {"test/4.png", "test/leak.png"})
    assert any(line.startswith("Left out as exact copies: 1, e.g. train/") for line in caplog.messages)
    assert any(line.startswith("Images with a copy in another split: 1, e.g. ") for line in caplog.messages)
    for fold in (1, 2):
        folded = ImageFolderDataModule(tmp_path, folds=2, fold=fold)
        folded.setup()
        assert folded.ids["test"] == data.ids["test"]
        assert {*folded.ids["train"], *folded.ids["val"]} == {*data.ids["train"], *data.ids["val"]}


def test_a_crop_is_a_part_of_its_region_in_one_of_eight_positions() -> None:
    region = torch.arange(3 * 6 * 6).reshape(1, 3, 6, 6).float()
    seen = {
        tuple(random_crops(region, 4, torch.Generator().manual_seed(seed)).flatten().tolist()) for seed in range(900)
    }
    parts = [region[0, :, top : top + 4, left : left + 4] for top in range(3) for left in range(3)]
    positions = [turned.rot90(turns, (1, 2)) for part in parts for turned in (part, part.flip(2)) for turns in range(4)]
    assert seen == {tuple(each.flatten().tolist()) for each in positions}


def test_crops_differ_within_a_batch() -> None:
    regions = torch.rand(1, 3, 32, 32).expand(8, -1, -1, -1)
    crops = random_crops(regions, 16, torch.Generator().manual_seed(0))
    assert crops.shape == (8, 3, 16, 16)
    assert len({crop.contiguous().numpy().tobytes() for crop in crops}) == 8


@pytest.mark.parametrize("scale", [2, 4])
def test_the_low_image_is_that_of_pillow(scale: int) -> None:
    image = photograph(0, 100, 100, 96, 120)
    low = image.resize((96 // scale, 120 // scale), Image.Resampling.BICUBIC)
    ours = downscale(as_tensor(image)[None].float() / 255, scale)[0] * 255
    assert torch.equal(ours, ours.round())
    assert (ours - as_tensor(low)).abs().max() <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("datamodule.patch=49",), "datamodule.patch=49: expected a multiple of scale=2, at most region=64"),
        (("datamodule.patch=66",), "datamodule.patch=66: expected a multiple of scale=2, at most region=64"),
        (("datamodule.scale=4", "datamodule.region=98"), "datamodule.region=98: expected a multiple of scale=4"),
        (("datamodule.region=640",), "datamodule.region=640: no readable image is as wide"),
        (("datamodule.region=400",), "datamodule: 2 regions are too few to be split"),
    ],
)
def test_sizes_that_can_not_be_cut_are_refused(words: tuple[str, ...], message: str, configure: Configure) -> None:
    with pytest.raises(RefusedError) as refused:
        build_datamodule(configure("datamodule=photographs", *words))
    assert str(refused.value).startswith(message)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(RefusedError, match=r"datamodule.root=.*: no image file in this folder .*; it holds notes.txt"):
        ImageFolderDataModule(tmp_path).setup()


def test_broken_truncated_and_small_images_are_named_and_left_out(
    own_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, configure: Configure
) -> None:
    Image.fromarray(np.zeros((200, 200, 3), np.uint8)).save(tmp_path / "cut.png")
    content = (own_data / "temple.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "small.png").write_bytes((own_data / "small.png").read_bytes())
    (tmp_path / "whole.png").write_bytes(content)
    (tmp_path / "broken.png").write_bytes((own_data / "broken.png").read_bytes())
    data = loaded(tmp_path, caplog)
    assert {each.split()[0] for ids in data.ids.values() for each in ids} == {"whole.png"}
    for name in ("cut.png can't be read", "broken.png can't be read", "small.png is 40x30, smaller than a region"):
        assert any(name in line for line in caplog.messages)
    (tmp_path / "whole.png").unlink()
    with pytest.raises(RefusedError, match="no readable image is as wide"):
        ImageFolderDataModule(tmp_path).setup()


def test_a_batch_on_its_way_to_the_model_gets_its_low_images(configure: Configure) -> None:
    class Stage:
        predicting, training = False, False

    data = build_datamodule(configure("datamodule=photographs"))
    batch: tuple[Tensor, Tensor] = next(iter(data.test_dataloader()))
    data.trainer = Stage()
    low, high, images = data.on_after_batch_transfer(batch, 0)
    assert torch.equal(high, batch[0])
    names = [name.split()[0] for name in data.sample_ids("test", torch.arange(2))]
    assert [("china.jpg", "flower.jpg")[number] for number in images] == names
    assert low.shape == (2, 3, 32, 32)
