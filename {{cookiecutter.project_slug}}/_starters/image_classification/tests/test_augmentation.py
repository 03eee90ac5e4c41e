"""Augmentation of training images: mirrored halves, and transforms of kornia that draw from a seed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Command
from omegaconf import DictConfig

from {{ cookiecutter.package_name }}.datamodules.augmentation import apply_seeded, random_affine
from {{ cookiecutter.package_name }}.datamodules.image_store import as_floats
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.engine.training.train import build_datamodule, build_model
from {{ cookiecutter.package_name }}.engine.training.trainer import datamodule_of
from {{ cookiecutter.package_name }}.models.classifier import mix
from {{ cookiecutter.package_name }}.models.normalization import pixels_of

Configure = Callable[..., DictConfig]
RESULTS = ("metrics.json", "evaluation_best.json")


def test_half_of_the_training_images_are_mirrored(configure: Configure) -> None:
    images = next(iter(build_datamodule(configure()).train_dataloader()))[0]
    made = random_affine(images, rotate=0, shift=0, zoom=0, flip=True, generator=torch.Generator().manual_seed(0))
    as_before, mirrored = ((made - other).abs().amax((1, 2, 3)) < 1e-5 for other in (images, images.flip(-1)))
    assert torch.all(as_before | mirrored)
    assert 0.3 < mirrored.float().mean() < 0.7


def test_further_transforms_draw_by_seed_epoch_and_position_alone(configure: Configure) -> None:
    pytest.importorskip("kornia")
    nodes = "{_target_:kornia.augmentation.auto.RandAugment,n:2,m:10},{_target_:kornia.augmentation.RandomErasing}"
    data = build_datamodule(configure(f"++datamodule.augment=[{nodes}]"))
    images = next(iter(data.train_dataloader()))[0]
    one, again = (apply_seeded(data.transforms, images, seed=1) for _ in range(2))
    before = torch.get_rng_state()
    other = apply_seeded(data.transforms, images, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.shape == images.shape
    with pytest.raises(RefusedError, match="changes the shape of images from 1 x 8 x 8 to 1 x 9 x 9"):
        build_datamodule(configure("++datamodule.augment=[{_target_:kornia.augmentation.Resize,size:[9,9]}]"))


def test_only_training_builds_the_transforms(configure: Configure) -> None:
    """Those of an untrusted run could take any amount of memory, and kornia need not be installed to predict."""
    data: Any = datamodule_of(
        configure("++datamodule.augment=[{_target_:torch.nn.Linear,in_features:1000000000,out_features:1000000000}]")
    )
    data.setup("test")
    assert data.transforms == []


def test_mixup_trains_on_mixed_images_with_the_classes_of_both(configure: Configure) -> None:
    cfg = configure("model=mlp", "++model.mixup=0.4", "model.class_weights=balanced", "model.network.dropout=0")
    data = build_datamodule(cfg)
    model: Any = build_model(cfg, data).train()
    images, targets = next(iter(data.train_dataloader()))
    torch.manual_seed(3)
    loss = model.training_step((images, targets), 0)
    torch.manual_seed(3)
    mixed, share, partners = mix(images, 0.4)
    assert 0.5 <= share < 1
    assert torch.allclose(mixed[5], share * images[5] + (1 - share) * images[partners[5]])
    one_hot = torch.eye(10)[targets]
    both = share * one_hot + (1 - share) * one_hot[partners]
    expected = -(both * model.class_weights * model(mixed).log_softmax(1)).sum(1).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_images_are_normalised_by_the_training_images_alone(configure: Configure) -> None:
    cfg = configure("++datamodule.normalize=true")
    data = build_datamodule(cfg)
    statistics: Any = data.facts["statistics"]
    images = as_floats(data.splits["train"][0]).numpy()
    assert statistics["pixel_mean"] == pytest.approx(images.mean((0, 2, 3)).tolist(), abs=1e-6)
    assert statistics["pixel_std"] == pytest.approx(images.std((0, 2, 3)).tolist(), abs=1e-6)
    seen: list[torch.Tensor] = []
    model: Any = build_model(cfg, data).train()
    model.network.register_forward_pre_hook(lambda _, given: seen.extend(given))
    model(torch.from_numpy(images).float())
    assert seen[0].mean().item() == pytest.approx(0, abs=1e-5)
    assert seen[0].std().item() == pytest.approx(1, abs=1e-3)
    assert model.hparams["statistics"] == statistics  # in the checkpoint, for predict.py
    with pytest.raises(RefusedError, match="expected mean and deviation of 3 channels"):
        pixels_of(statistics, 3)
    assert "pixel_mean" not in build_datamodule(configure()).facts["statistics"]
    data.trained = model.hparams  # of evaluate.py: the training images are not read again
    assert "pixel_mean" not in data.facts["statistics"]


def test_a_checkpoint_keeps_how_images_are_normalised(command: Command) -> None:
    words = ("name=normalised", "++datamodule.normalize=true", "trainer.max_epochs=1", "trainer.accelerator=cpu")
    status, output = command("train.py", *words, "callbacks=[default]")
    assert status == 0, output
    status, output = command("evaluate.py", "run=runs/normalised")
    assert status == 0, output
    results = [json.loads((command.folder / "runs/normalised" / name).read_text())["test"] for name in RESULTS]
    assert results[0] == results[1]
