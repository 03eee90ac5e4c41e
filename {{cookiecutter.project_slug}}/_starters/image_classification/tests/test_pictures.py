"""What datamodules of labelled pictures promise beside the contract of every datamodule."""

from collections.abc import Callable

import pytest
import torch
from conftest import options
from omegaconf import DictConfig

from {{ cookiecutter.package_name }}.engine.train import build_datamodule

Configure = Callable[..., DictConfig]

pytestmark = pytest.mark.parametrize("option", options("datamodule"))


def test_batches_have_the_shape_and_range_that_the_facts_tell(option: str, configure: Configure) -> None:
    cfg = configure(f"datamodule={option}", "datamodule.batch_size=16")
    data = build_datamodule(cfg)
    images, targets = next(iter(data.train_dataloader()))
    assert images.shape == (16, *data.facts["input_shape"])
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert targets.shape == (16,)
    assert targets.dtype == torch.int64
    assert len(data.facts["class_names"]) == data.facts["num_classes"] > targets.max()


@pytest.mark.parametrize("words", [(), ("++datamodule.folds=4", "++datamodule.fold=2")], ids=["plain", "fold"])
def test_each_split_has_each_class_in_its_proportion(words: tuple[str, ...], option: str, configure: Configure) -> None:
    data = build_datamodule(configure(f"datamodule={option}", *words))
    shares = {
        name: torch.bincount(targets, minlength=data.facts["num_classes"]) / len(targets)
        for name, (_, targets) in data.splits.items()
    }
    for name in ("val", "test"):
        assert torch.allclose(shares[name], shares["train"], atol=0.06)


def test_every_picture_is_in_a_split(option: str, configure: Configure) -> None:
    data = build_datamodule(configure(f"datamodule={option}"))
    divided = [image.numpy().tobytes() for images, _ in data.splits.values() for image in images]
    assert sorted(divided) == sorted(image.numpy().tobytes() for image in data.load_pictures().images)
