"""Seasons and a naive forecast from the training steps, a linear forecast beside the network, and calibration."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import NO_LOGGER, Command, fitting
from starter import real_counts

from {{ cookiecutter.package_name }} import load_run
from {{ cookiecutter.package_name }}.datamodules.seasons import naive_anchor, seen_seasons
from {{ cookiecutter.package_name }}.datamodules.series import SeriesDataModule
from {{ cookiecutter.package_name }}.models.linear_forecast import Problem, fit_linear


def hours(days: int, seed: int = 0) -> np.ndarray:
    """A random walk of the day's mean, and a wave of a day: (1, T), without a week."""
    random = np.random.default_rng(seed)
    walk = np.repeat(random.normal(size=days).cumsum(), 24) + random.normal(size=24 * days).cumsum() / 5
    return (walk + 3 * np.sin(np.arange(24 * days) * 2 * np.pi / 24))[None]


def test_a_week_that_the_training_steps_do_not_show_is_no_season() -> None:
    assert seen_seasons(hours(100), [24, 168]) == [24]
    assert seen_seasons(real_counts(100)["value"].to_numpy()[None], [24, 168]) == [24, 168]
    assert seen_seasons(hours(8), [24, 168]) == [24, 168]  # too short to tell


def test_nothing_after_the_training_steps_is_looked_at(tmp_path: Path) -> None:
    """Values of validation and test change neither sizes, nor seasons, nor the naive forecast."""
    facts = []
    values = hours(100)[0]
    for after in (values, np.random.default_rng(1).normal(size=2400)):
        changed = np.concatenate([values[: 2400 - 720], after[2400 - 720 :]])
        times = pd.date_range("2024-01-01", periods=2400, freq="h")
        pd.DataFrame({"time": times, "value": changed}).to_csv(tmp_path / "mine.csv", index=False)
        data = SeriesDataModule(tmp_path / "mine.csv")
        data.setup("fit")
        facts.append(data.facts)
    assert facts[0] == facts[1]
    assert facts[0]["seasons"] == [24]


def test_the_naive_forecast_is_the_one_with_the_least_error() -> None:
    random = np.random.default_rng(0)
    walk = random.normal(size=(2, 2000)).cumsum(1)
    assert naive_anchor(walk, [24], 48, 24) == (1, 0.0)
    season = np.tile(random.normal(size=24), 80)[None] + random.normal(size=(1, 24 * 80)) / 10
    assert naive_anchor(season, [24, 168], 336, 24)[1] == 0.0
    slow = np.zeros(1920)
    for step in range(1, 1920):
        slow[step] = 0.95 * slow[step - 1] + random.normal() / 3
    anchor, damping = naive_anchor(season + slow, [24], 48, 24)
    assert (anchor, damping >= 0.8) == (24, True)
    assert naive_anchor(season[:, :20], [24], 48, 24) == (24, 0.0)  # too short to tell


def test_ridge_finds_the_weights_and_leaves_out_what_does_not_help() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(500, 10, dtype=torch.float64, generator=generator)
    true = torch.randn(10, 3, dtype=torch.float64, generator=generator)
    noise = torch.randn(500, 3, dtype=torch.float64, generator=generator)
    unit = torch.ones(500, 1, dtype=torch.float64)
    levels = torch.tensor([0.1, 0.5, 0.9])
    targets = features @ true + 0.01 * noise
    none = torch.zeros(500, 3, 0, dtype=torch.float64)

    def problem(start: int, end: int, targets: torch.Tensor, changes: torch.Tensor = none) -> Problem:
        return Problem(*(part[start:end] for part in (features, changes, targets, unit)))

    weights, spread = fit_linear(problem(0, 400, targets), problem(400, 500, targets), levels)
    assert weights.numpy() == pytest.approx(true.T.numpy(), abs=0.01)
    assert spread.numpy() == pytest.approx(np.tile([-0.0128, 0, 0.0128], (3, 1)), abs=0.004)
    changes = torch.randn(500, 3, 1, dtype=torch.float64, generator=generator)
    targets = targets + changes[..., 0] * torch.tensor([1.0, 2.0, 3.0])
    weights, _ = fit_linear(problem(0, 400, targets, changes), problem(400, 500, targets, changes), levels)
    assert weights[:, :10].numpy() == pytest.approx(true.T.numpy(), abs=0.01)
    assert weights[:, 10].tolist() == pytest.approx([1, 2, 3], abs=0.01)
    weights, _ = fit_linear(problem(0, 20, noise), problem(400, 500, noise), levels)
    assert weights.abs().max() < 0.05


@pytest.fixture(scope="module")
def run(command: Command) -> Path:
    times = pd.date_range("2024-01-01", periods=4800, freq="h")
    path = command.folder / "walk.csv"
    pd.DataFrame({"time": times, "value": hours(200)[0]}).to_csv(path, index=False)
    status, output = command(
        "train.py", "name=walk", "datamodule=series", f"datamodule.root={path}", "trainer.accelerator=cpu",
        "trainer.max_epochs=2", *NO_LOGGER, *fitting(["model.network.width=16", "datamodule.context=72"]),
    )  # fmt: skip
    assert status == 0, output
    return command.folder / "runs" / "walk"


def loaded(run: Path) -> tuple[Any, Any]:
    """Model and datamodule of a run, set up."""
    model, data = load_run(run)
    data.setup("fit")
    return model, data


def test_lead_1_does_not_jump_and_the_quantiles_hold_what_they_say(run: Path) -> None:
    model, data = loaded(run)
    (history, phases, target, _, offset), change = data.some_windows("test"), np.abs(np.diff(hours(200)[0])).mean()
    with torch.no_grad():
        median = model(history, phases, offset)[..., 4]
    jump, error = (median[:, 0] - history[:, -1]).abs().mean(), (median[:, 0] - target[:, 0]).abs().mean()
    assert jump < 1.5 * change
    assert error < 1.5 * change
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    assert metrics["mase"] < metrics["mase_naive"]
    assert abs(metrics["coverage"] - metrics["coverage_nominal"]) < 0.12
    model.factors.fill_(0.5)
    quantiles = model(history, phases, offset)
    assert ((target >= quantiles[..., 0]) & (target <= quantiles[..., -1])).float().mean() < 0.65


def test_the_validation_chooses_how_much_of_a_network_is_used(run: Path) -> None:
    """Its loss is the least of all shares, so that a network that harms is left out."""
    model, data = loaded(run)
    history, phases, target, scale, _ = data.some_windows("val")
    losses = {}
    with torch.no_grad():
        model.factors.fill_(1)
        for share in (float(model.share), 0.0, 0.5, 1.0):
            model.share.fill_(share)
            losses[share] = float(model.loss(model(history, phases), target, scale))
    assert min(losses.values()) == next(iter(losses.values()))


def test_a_checkpoint_of_averaged_weights_holds_what_its_own_validation_chose(run: Path, command: Command) -> None:
    words = ("datamodule=series", f"datamodule.root={command.folder / 'walk.csv'}", "trainer.accelerator=cpu")
    status, output = command(
        "train.py", "name=averaged", *words, "trainer.max_epochs=1", "callbacks=[default,ema]", *NO_LOGGER,
        *fitting(["model.network.width=16", "datamodule.context=72"]),
    )  # fmt: skip
    assert status == 0, output
    (path,) = (command.folder / "runs" / "averaged").rglob("best.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    assert not torch.equal(checkpoint["state_dict"]["factors"], torch.ones(9))
    for name in ("share", "factors"):
        assert torch.equal(checkpoint["state_dict"][name], checkpoint["current_model_state"][name])


def test_a_validation_of_constant_values_fits_nothing(command: Command) -> None:
    values = np.where(np.arange(1200) < 700, np.random.default_rng(0).normal(size=1200), 0)
    times = pd.date_range("2024-01-01", periods=1200, freq="h")
    pd.DataFrame({"time": times, "value": values}).to_csv(command.folder / "still.csv", index=False)
    status, output = command(
        "train.py", "name=still", "datamodule=series", f"datamodule.root={command.folder / 'still.csv'}",
        "trainer.accelerator=cpu", "trainer.max_epochs=1", *NO_LOGGER,
        *fitting(["model.network.width=16", "datamodule.context=48"]),
    )  # fmt: skip
    assert status == 0, output
