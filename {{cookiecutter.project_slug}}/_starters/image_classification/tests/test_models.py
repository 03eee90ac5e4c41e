"""The contract of every model in configs/model/: one that you add is tested by being there."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import options
from omegaconf import DictConfig
from pytorch_lightning import LightningModule, Trainer, seed_everything
from torch import Tensor
from torch.nn.functional import cross_entropy

from {{ cookiecutter.package_name }}.engine.train import build_datamodule, build_model

Configure = Callable[..., DictConfig]
PLAIN = (str, int, float, bool, type(None))

pytestmark = pytest.mark.parametrize("option", options("model"))


def model_and_batch(option: str, configure: Configure) -> tuple[LightningModule, Tensor, Tensor]:
    seed_everything(0, verbose=False)
    cfg = configure(f"model={option}")
    data = build_datamodule(cfg)
    return build_model(cfg, data), *next(iter(data.train_dataloader()))


def optimizer_of(model: LightningModule) -> torch.optim.Optimizer:
    Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False).strategy.connect(model)
    model.hparams["scheduler"] = None
    optimizer = model.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer


def test_model_of_a_batch_gives_a_logit_for_each_class(option: str, configure: Configure) -> None:
    model, images, _ = model_and_batch(option, configure)
    logits = model(images)
    assert logits.shape == (len(images), model.hparams["num_classes"])
    assert logits.isfinite().all()


def test_one_optimisation_step_lowers_the_loss(option: str, configure: Configure) -> None:
    model, images, targets = model_and_batch(option, configure)
    model.eval()  # the same function before and after: no dropout
    optimizer = optimizer_of(model)
    before = cross_entropy(model(images), targets)
    before.backward()
    optimizer.step()
    assert cross_entropy(model(images), targets) < before


def test_every_parameter_learns(option: str, configure: Configure) -> None:
    model, images, targets = model_and_batch(option, configure)
    cross_entropy(model(images), targets).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_model_can_overfit_one_batch(option: str, configure: Configure) -> None:
    model, images, targets = model_and_batch(option, configure)
    optimizer = optimizer_of(model.train())
    for _ in range(100):
        optimizer.zero_grad()
        cross_entropy(model(images), targets).backward()
        optimizer.step()
    assert (model.eval()(images).argmax(-1) == targets).float().mean() > 0.95


def test_samples_of_a_batch_do_not_mix(option: str, configure: Configure) -> None:
    model, images, _ = model_and_batch(option, configure)
    model.eval()
    assert torch.allclose(model(images)[:3], model(images[:3]), atol=1e-4)


def test_checkpoint_holds_plain_values_and_gives_the_model_back(
    option: str, configure: Configure, tmp_path: Path
) -> None:
    model, images, _ = model_and_batch(option, configure)
    trainer = Trainer(max_epochs=0, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    content = torch.load(tmp_path / "model.ckpt", weights_only=True)

    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(plain(part) for part in value.values())
        return all(map(plain, value)) if isinstance(value, list) else isinstance(value, PLAIN)

    assert plain(dict(content["hyper_parameters"]))
    again = type(model).load_from_checkpoint(tmp_path / "model.ckpt", map_location="cpu", weights_only=True)
    assert torch.equal(again.eval()(images), model.eval()(images))
