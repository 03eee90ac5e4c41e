"""The contract of every model in configs/model/: one that you add is tested by being there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import fitting, options
from omegaconf import DictConfig
from pytorch_lightning import LightningModule, Trainer, seed_everything
from starter import SMALL, loss, outputs

from {{ cookiecutter.package_name }}.engine.training.train import build_datamodule, build_model

Configure = Callable[..., DictConfig]
PLAIN = (str, int, float, bool, type(None))

pytestmark = pytest.mark.parametrize("option", options("model"))


def model_and_batch(option: str, configure: Configure) -> tuple[LightningModule, Any]:
    seed_everything(0, verbose=False)
    cfg = configure(f"model={option}", "datamodule.batch_size=16", *fitting(SMALL, option))
    data = build_datamodule(cfg)
    return build_model(cfg, data), data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)


def test_outputs_are_finite_and_samples_of_a_batch_do_not_mix(option: str, configure: Configure) -> None:
    model, batch = model_and_batch(option, configure)
    model.eval()
    whole = outputs(model, batch)
    assert len(whole) == len(batch[0])
    assert whole.isfinite().all()
    assert torch.allclose(whole[:3], outputs(model, [part[:3] for part in batch]), atol=1e-4)


def test_every_parameter_learns(option: str, configure: Configure) -> None:
    """A few steps, for some begin at zero behind another that does."""
    model, batch = model_and_batch(option, configure)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    learns: set[str] = set()
    for _ in range(4):
        optimizer.zero_grad()
        loss(model, batch).backward()
        learns.update(name for name, each in model.named_parameters() if each.grad is not None and each.grad.any())
        optimizer.step()
    assert {name for name, _ in model.named_parameters()} - learns == set()


def test_a_batch_of_one_sample_trains(option: str, configure: Configure) -> None:
    """An epoch may end in one."""
    model, batch = model_and_batch(option, configure)
    value = loss(model.train(), [part[:1] for part in batch])
    value.backward()
    assert value.isfinite()


def test_it_can_overfit_one_batch(option: str, configure: Configure) -> None:
    model, batch = model_and_batch(option, configure)
    model.eval()  # the same function in each step: no dropout
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = [loss(model, batch)]
    while losses[-1] > 0.7 * losses[0] and len(losses) < 400:  # most need 60 steps; some that you deepen, more
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
        losses.append(loss(model, batch))
    assert losses[-1] <= 0.7 * losses[0]


def test_checkpoint_holds_plain_values_and_gives_the_model_back(
    option: str, configure: Configure, tmp_path: Path
) -> None:
    model, batch = model_and_batch(option, configure)
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
    assert torch.equal(outputs(again.eval(), batch), outputs(model.eval(), batch))
