"""The contract of every datamodule in configs/datamodule/: one that you add is tested by being there."""

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


def test_each_split_has_each_class_in_its_proportion(option: str, configure: Configure) -> None:
    data = build_datamodule(configure(f"datamodule={option}"))
    shares = {
        name: torch.bincount(targets, minlength=data.facts["num_classes"]) / len(targets)
        for name, (_, targets) in data.splits.items()
    }
    for name in ("val", "test"):
        assert torch.allclose(shares[name], shares["train"], atol=0.06)


def test_no_picture_is_in_two_splits(option: str, configure: Configure) -> None:
    data = build_datamodule(configure(f"datamodule={option}"))
    divided = [image.numpy().tobytes() for images, _ in data.splits.values() for image in images]
    assert sorted(divided) == sorted(image.numpy().tobytes() for image in data.load_pictures().images)


def test_the_split_depends_on_split_seed_alone(option: str, configure: Configure) -> None:
    prints = [
        build_datamodule(configure(f"datamodule={option}", *overrides)).fingerprint()
        for overrides in ([], ["seed=1"], ["datamodule.split_seed=1"])
    ]
    assert prints[0] == prints[1] != prints[2]


def test_the_order_is_a_function_of_seed_and_epoch(option: str, configure: Configure) -> None:
    def targets(seed: int, epoch: int) -> list[int]:
        loader = build_datamodule(configure(f"datamodule={option}", f"seed={seed}")).train_dataloader()
        loader.sampler.set_epoch(epoch)
        return torch.cat([batch[1] for batch in loader]).tolist()

    assert targets(0, 0) == targets(0, 0)
    assert targets(0, 0) != targets(0, 1)
    assert targets(0, 0) != targets(1, 0)
    assert sorted(targets(0, 0)) == sorted(targets(1, 1))


def test_evaluation_sees_each_picture_once(option: str, configure: Configure) -> None:
    data = build_datamodule(configure(f"datamodule={option}"))
    for name, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        assert torch.equal(torch.cat([images for images, _ in loader]), data.splits[name][0])
