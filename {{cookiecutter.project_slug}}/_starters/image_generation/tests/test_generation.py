"""Measuring and drawing generated images: the Fréchet distance, its judge, seeds, and the way from noise to image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import options
from omegaconf import DictConfig
from PIL import Image
from pytorch_lightning import Trainer
from scipy.linalg import sqrtm
from torch import Tensor

from {{ cookiecutter.package_name }}.datamodules.digits import DigitsDataModule
from {{ cookiecutter.package_name }}.datamodules.images import sheet
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.engine.training.train import build_datamodule, build_model
from {{ cookiecutter.package_name }}.models.frechet import Judge, frechet_distance, train_judge

Configure = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def digits() -> dict[str, tuple[Tensor, Tensor]]:
    data: Any = DigitsDataModule()
    data.setup("fit")
    return data.splits


@pytest.fixture(scope="module")
def judge(digits: dict[str, tuple[Tensor, Tensor]]) -> Judge:
    return train_judge(*digits["train"])


def distance(judge: Judge, generated: Tensor, real: Tensor) -> float:
    metric = frechet_distance(judge, list(real.shape[1:]))
    metric.update(real, real=True)
    for part in generated.split(50):
        metric.update(part, real=False)
    return metric.compute().item()


def test_the_distance_is_that_of_its_formula(judge: Judge, digits: dict[str, tuple[Tensor, Tensor]]) -> None:
    one, other = digits["test"][0], digits["val"][0]
    a, b = (judge(images).double().numpy() for images in (one, other))
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root: Any = sqrtm(cov_a @ cov_b)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root.real)
    assert distance(judge, other, one) == pytest.approx(expected, rel=1e-3)


def test_the_judge_sees_what_is_wrong_with_images(judge: Judge, digits: dict[str, tuple[Tensor, Tensor]]) -> None:
    images, targets = digits["test"]
    with torch.no_grad():
        assert (judge.network(images).argmax(1) == targets).float().mean() > 0.97
    real = distance(judge, digits["val"][0], images)
    noisy = (images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert distance(judge, images, images) == pytest.approx(0, abs=1e-3)
    assert real < distance(judge, noisy, images)
    assert real < distance(judge, images[targets != 3], images)  # one class is never generated
    assert real < distance(judge, images[:20].repeat(18, 1, 1, 1), images)  # a few images repeated


def test_the_judge_is_the_same_each_time_and_leaves_the_random_state_alone(
    judge: Judge, digits: dict[str, tuple[Tensor, Tensor]]
) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    with torch.inference_mode():  # as during validation
        again = train_judge(*digits["train"])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(again(digits["val"][0]), judge(digits["val"][0]))


def test_for_one_class_the_judge_tells_mirror_images_apart(digits: dict[str, tuple[Tensor, Tensor]]) -> None:
    images, targets = (part[digits["train"][1] == 4] for part in digits["train"])
    judge = train_judge(images, torch.zeros_like(targets))
    fours = digits["test"][0][digits["test"][1] == 4]
    with torch.no_grad():
        assert (judge.network(fours.flip(2)).argmax(1) == 1).float().mean() > 0.8


@pytest.mark.parametrize("option", options("model"))
def test_an_image_is_a_function_of_class_and_seed(option: str, configure: Configure) -> None:
    cfg = configure(f"model={option}")
    model: Any = build_model(cfg, build_datamodule(cfg)).eval()
    seeds, classes = torch.tensor([5, 6, 7, 5]), torch.tensor([0, 1, 2, 0])
    state = torch.get_rng_state()
    with torch.no_grad():
        images = model.predict_step((classes, seeds), 0)
        alone = model.predict_step((classes[2:3], seeds[2:3]), 0)
        assert images.shape == (4, 1, 8, 8)
        assert 0 <= images.min() <= images.max() <= 1
        assert torch.allclose(images[0], images[3], atol=1e-6)
        assert torch.allclose(images[2], alone[0], atol=1e-5)
        assert not torch.allclose(images[0], model.predict_step((classes[:1], seeds[1:2]), 0)[0], atol=1e-3)
    assert torch.equal(torch.get_rng_state(), state)


def test_following_the_true_velocity_leads_from_noise_to_the_image(configure: Configure) -> None:
    """If all images are the same, the velocity is known; guidance must not change it."""
    image = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    for words in ((), ("model.guidance=3.0",)):
        cfg = configure("model=flow", *words)
        model: Any = build_model(cfg, build_datamodule(cfg))
        model.forward = lambda x, t, classes: (image * 2 - 1 - x) / (1 - t[:, None, None, None])
        drawn = model.sample(model.noise_of(torch.arange(5)), torch.zeros(5, dtype=torch.long))
        assert torch.allclose(drawn, image.expand(5, -1, -1, -1), atol=0.08)


def test_guidance_moves_away_from_the_prediction_without_class(configure: Configure) -> None:
    cfg = configure("experiment=guidance", "model=flow")
    model: Any = build_model(cfg, build_datamodule(cfg))
    model.forward = lambda x, t, classes: torch.zeros_like(x) + (classes < model.num_classes)[:, None, None, None]
    noise, classes = torch.full((1, 1, 8, 8), -1.0), torch.zeros(1, dtype=torch.long)
    assert torch.allclose(model.sample(noise, classes), torch.tensor(cfg.model.guidance / 2), atol=1e-5)


def test_a_step_of_the_gan_moves_both_networks_and_neither_loss_reaches_the_other(configure: Configure) -> None:
    cfg = configure("model=gan", "model.scheduler=null")
    data = build_datamodule(cfg)
    model: Any = build_model(cfg, data)
    before = {name: value.clone() for name, value in model.named_parameters()}
    trainer = Trainer(
        max_epochs=1, limit_train_batches=1, limit_val_batches=0, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, data)
    assert trainer.global_step == 2
    moved = {name.partition(".")[0] for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"generator", "discriminator"}
    model.zero_grad()
    images, classes = next(iter(data.train_dataloader()))
    fake = model(model.noise_of(torch.arange(len(images))), classes)
    model.discriminator_loss(images, classes, fake.detach()).backward()
    assert all(parameter.grad is None for parameter in model.generator.parameters())


def test_a_sheet_holds_each_image_in_its_place() -> None:
    images = torch.arange(5).reshape(5, 1, 1, 1).expand(5, 1, 32, 32) / 8
    pixels = sheet(images, columns=3)
    assert pixels.shape == (2 * 68, 3 * 68, 1)
    assert [pixels[row * 68 + 34, column * 68 + 34, 0].item() * 8 for row in (0, 1) for column in (0, 1, 2)] == [
        0, 1, 2, 3, 4, 8,  # white for missing images
    ]  # fmt: skip


def test_the_sheet_is_cut_off_and_the_array_holds_all_images(tmp_path: Path) -> None:
    data = DigitsDataModule(samples_per_class=250)
    model = {"class_names": ["a", "b"], "input_shape": [1, 8, 8]}
    data.read_inputs("all", model)
    images = torch.rand(500, 1, 8, 8)
    assert data.write_predictions([images[:300], images[300:]], tmp_path / "drawn.png", model) == 500
    assert np.array_equal(np.load(tmp_path / "drawn.npy"), images.numpy())
    with Image.open(tmp_path / "drawn.png") as drawn:
        assert drawn.size == (100 * 68, 2 * 68)
        assert drawn.getpixel((34, 68 + 34)) == round(float(images[250, 0, 4, 4]) * 255)  # the first of class b


def test_more_images_than_memory_holds_are_refused(tmp_path: Path) -> None:
    data = DigitsDataModule(samples_per_class=10_000)
    model = {"class_names": [*"abcdefghij"], "input_shape": [3, 256, 256]}
    with pytest.raises(RefusedError, match=r"^datamodule\.samples_per_class=10000: images of 10 classes") as refused:
        data.read_inputs("all", model)
    fits = int(str(refused.value).partition("at most ")[2].split()[0])
    assert fits * 10 * 3 * 256**2 <= 2**28 < (fits + 1) * 10 * 3 * 256**2
    data.samples_per_class = fits
    assert data.read_inputs("all", model) == []
