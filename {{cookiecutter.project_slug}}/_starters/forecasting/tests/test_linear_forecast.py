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
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.models.forecaster import Forecaster
from {{ cookiecutter.package_name }}.models.linear_forecast import Problem, check_size, fit_linear


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
    assert naive_anchor(season[:, :20], [24], 12, 24) == (None, 0.0)  # nor does a season fit into the history


def test_a_history_of_one_season_repeats_it() -> None:
    season = np.tile(np.random.default_rng(0).normal(size=24), 80)[None]
    assert naive_anchor(season, [24, 168], 24, 24) == (24, 0.0)
    model = Forecaster({"_target_": "torch.nn.Identity"}, {}, 24, 48, [24, 168], "h", anchor=24)
    history = torch.from_numpy(season[:, :24]).float()
    assert torch.equal(model.naive_forecast(history), history.repeat(1, 2))


def test_a_model_that_repeats_more_than_its_history_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"^model\.anchor=168: expected at most context=24"):
        Forecaster({"_target_": "torch.nn.Identity"}, {}, 24, 48, [24, 168], "h", anchor=168)


def test_more_covariates_than_the_normal_equations_can_have_are_refused_with_the_numbers() -> None:
    check_size(8000, 0, 24)
    check_size(500, 2000, 12)
    with pytest.raises(RefusedError) as refused:
        check_size(500, 3000, 24)
    message = str(refused.value)
    assert "3,500 weights at each of 24 steps ahead: 252,250,000 coefficients, of at most 67,108,864" in message
    assert "\n" not in message


def test_ridge_finds_the_weights_and_leaves_out_what_does_not_help() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(500, 10, dtype=torch.float64, generator=generator)
    true = torch.randn(10, 3, dtype=torch.float64, generator=generator)
    noise = torch.randn(500, 3, dtype=torch.float64, generator=generator)
    unit = torch.ones(500, 1, dtype=torch.float64)
    levels = torch.tensor([0.1, 0.5, 0.9])
    targets = features @ true + 0.01 * noise
    none = torch.zeros(500, 3, 0, dtype=torch.float64)

    def fitted(end: int, targets: torch.Tensor, changes: torch.Tensor = none, size: int = 500) -> Any:
        """Weights and spread, fitted to the samples before `end` in blocks, and the last 100 validate."""

        def blocks(start: int, end: int) -> list[Problem]:
            parts = (features, changes, targets, unit)
            return [Problem(*(part[at : min(at + size, end)] for part in parts)) for at in range(start, end, size)]

        return fit_linear(blocks(0, end), lambda: blocks(400, 500), levels)

    weights, spread = fitted(400, targets)
    assert weights.numpy() == pytest.approx(true.T.numpy(), abs=0.01)
    assert spread.numpy() == pytest.approx(np.tile([-0.0128, 0, 0.0128], (3, 1)), abs=0.004)
    changes = torch.randn(500, 3, 1, dtype=torch.float64, generator=generator)
    targets = targets + changes[..., 0] * torch.tensor([1.0, 2.0, 3.0])
    weights, _ = fitted(400, targets, changes)
    assert weights[:, :10].numpy() == pytest.approx(true.T.numpy(), abs=0.01)
    assert weights[:, 10].tolist() == pytest.approx([1, 2, 3], abs=0.01)
    for one, whole in zip(fitted(400, targets, changes, size=60), fitted(400, targets, changes), strict=True):
        assert one.numpy() == pytest.approx(whole.numpy(), abs=1e-6)
    weights, _ = fitted(20, noise)
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
    history, phases, target, _, offset = next(data.some_windows("test"))
    change = np.abs(np.diff(hours(200)[0])).mean()
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
    history, phases, target, scale, _ = next(data.some_windows("val"))
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


def test_the_linear_forecast_of_a_run_to_start_from_is_fitted_anew(run: Path, command: Command) -> None:
    """It belongs to the naive forecast of other data."""
    frame = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=2400, freq="h"), "value": hours(100, seed=1)[0]})
    frame.to_csv(command.folder / "other.csv", index=False)
    words = (
        "datamodule=series", f"datamodule.root={command.folder / 'other.csv'}", "trainer.accelerator=cpu",
        "trainer.max_epochs=1", "callbacks=[default]", *NO_LOGGER,
        *fitting(["model.network.width=16", "datamodule.context=72"]),
    )  # fmt: skip
    for name, start in (("alone", "null"), ("started", f"runs/{run.name}")):
        status, output = command("train.py", f"name={name}", f"init_from={start}", *words)
        assert status == 0, output
    alone, started = (loaded(command.folder / "runs" / name)[0] for name in ("alone", "started"))
    assert alone.linear.any()
    for name in ("linear", "spread"):
        assert torch.equal(getattr(alone, name), getattr(started, name))
        assert not torch.equal(getattr(loaded(run)[0], name), getattr(started, name))


def test_quantiles_that_cross_are_sorted_before_they_are_calibrated(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in validation, where the median is that of the sorted quantiles."""
    model, data = loaded(run)
    history, phases, _, _, offset = next(data.some_windows("test"))
    model.share.fill_(1)
    model.factors.fill_(0.5)
    model.factors[model.middle] = 1
    with torch.no_grad():
        order = [4, 0, 1, 2, 3, 5, 6, 7, 8]
        network = model.network_quantiles(model.normalize(history)[0], phases, None).sort(-1).values
        monkeypatch.setattr(model, "network_quantiles", lambda *_: network)
        straight = model(history, phases, offset)
        monkeypatch.setattr(model, "network_quantiles", lambda *_: network[..., order])
        crossed = model(history, phases, offset)
    assert torch.equal(crossed, straight)
