"""Forecasts, fine-tuning and evaluation with a run on one's own series."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import NO_LOGGER, Command, fitting
from matplotlib.figure import Figure
from PIL import Image
from starter import OWN_NAME, real_counts, write_own_data

from {{ cookiecutter.package_name }} import load_run
from {{ cookiecutter.package_name }}.callbacks.report import ahead_in_words, draw_fan

SHORT = ("trainer.max_epochs=4", "trainer.accelerator=cpu", *NO_LOGGER, *fitting(["model.network.width=16"]))


@pytest.fixture(scope="module")
def words(command: Command) -> tuple[str, str]:
    """Overrides that select one's own series."""
    write_own_data(command.folder / OWN_NAME)
    return "datamodule=series", f"datamodule.root={command.folder / OWN_NAME}"


@pytest.fixture(scope="module")
def run(command: Command, words: tuple[str, str]) -> Path:
    status, output = command("train.py", "name=first", *words, "datamodule.least=0", *SHORT)
    assert status == 0, output
    return command.folder / "runs" / "first"


def test_all_that_is_drawn_of_a_forecast_is_named() -> None:
    axes = Figure().subplots()
    levels = [0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9]
    times = pd.date_range("2024-01-01", periods=12, freq="h")
    draw_fan(axes, times, torch.zeros(8), torch.arange(7.0).expand(4, -1), torch.zeros(4), levels)
    names = ["history", *(f"quantiles {part}" for part in ("0.1 to 0.9", "0.2 to 0.8", "0.3 to 0.7"))]
    labels = axes.get_legend_handles_labels()[1]
    assert {*labels} == {*names, "median", "target", "start of the forecast"}
    assert len(labels) == len(axes.lines) + len(axes.collections)
    assert len({tuple(np.ravel(band.get_facecolor())) for band in axes.collections}) == 3


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("h", "hours ahead"),
        ("15min", "steps ahead (15 minutes each)"),
        ("3MS", "steps ahead (3 months each)"),
        ("B", "business days ahead"),
        ("D[1111110]", "recorded days ahead"),
    ],
)
def test_the_unit_of_the_horizon_is_a_word(step: str, words: str) -> None:
    assert ahead_in_words(step) == words


def test_a_trained_forecast_beats_the_season_before(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    assert metrics["wql"] < 0.9 * metrics["wql_naive"]
    assert 0.5 < metrics["mase"] < 1 > metrics["mase_naive"] > 0.5
    assert 0.4 < metrics["coverage"] < 0.95


def test_every_naive_forecast_stands_beside_the_model_s(run: Path) -> None:
    """Recompute them with numpy from the values of the file."""
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    _, datamodule = load_run(run)
    data: Any = datamodule
    data.setup("fit")
    values, starts = data.panel.values[0], data.splits["test"][0].numpy()
    assert np.array_equal(values, real_counts(100)["value"])
    train = values[: len(values) - round(0.15 * len(values))]
    scale = np.abs(train[168:] - train[:-168]).mean()
    targets = np.stack([values[start : start + 24] for start in starts])
    found = {"mase": {}, "wql": {}}
    for name, season in {"persistence": 1, "season_24": 24, "season_168": 168}.items():
        before = np.stack([np.resize(values[start - season : start], 24) for start in starts])
        found["mase"][name] = np.abs(targets - before).mean() / scale
        found["wql"][name] = np.abs(targets - before).sum() / np.abs(targets).sum()  # 2ρ averages to 1 over levels
    for metric, each in found.items():
        made = {name.removeprefix(f"{metric}/"): value for name, value in metrics.items() if f"{metric}/" in name}
        assert made == pytest.approx(each, rel=1e-4)
        assert metrics[f"{metric}_naive"] == pytest.approx(min(each.values()), rel=1e-4)
    assert metrics["coverage_nominal"] == pytest.approx(0.8)
    log = (run / "train.log").read_text()
    for label in ("persistence (the last value)", "24 steps before", "168 steps before", "forecast"):
        assert label in log
    assert f"{metrics['coverage']:.1%} of the values lie between the quantiles 0.1 and 0.9; nominal: 80.0%" in log


def test_images_show_something(run: Path) -> None:
    for name in ("forecasts", "reliability"):
        with Image.open(run / "plots" / f"{name}.png") as image:
            assert np.asarray(image.convert("L")).std() > 10


def test_each_series_is_forecast_from_its_end_and_quantiles_do_not_cross(run: Path, command: Command) -> None:
    days = {"45 Queen Street": 20, "150 K Road": 21, "30 Queen Street": 3}
    parts = [real_counts(each, place).assign(place=place) for place, each in days.items()]
    pd.concat(parts).to_csv(command.folder / "places.csv", index=False)
    status, output = command("predict.py", "run=runs/first", "input=places.csv", "datamodule.series=place")
    assert status == 0, output
    assert "series '30 Queen Street' ends with 72 steps without a gap; expected 336" in output
    forecast = pd.read_csv(run / "predictions" / "places_forecast.csv", parse_dates=["time"])
    levels = [name for name in map(str, forecast) if name.startswith("q")]
    model, _ = load_run(run)
    assert levels == [f"q{level:g}" for level in model.hparams["quantiles"]]
    assert (np.diff(forecast[levels]) >= 0).all()
    assert forecast[levels[0]].min() >= 0
    for part in parts[:2]:
        made = forecast[forecast["place"] == part["place"].iloc[0]]
        first = part["time"].iloc[-1] + pd.Timedelta(hours=1)
        assert list(made["time"]) == list(pd.date_range(first, periods=24, freq="h"))
        history = torch.tensor(part["value"].to_numpy()[-336:], dtype=torch.float32)[None]
        hours = int(first.timestamp()) // 3600
        phases = torch.tensor([[hours % 24 / 24, hours % 168 / 168]])
        expected = model(history, phases)[0]
        assert made[levels].to_numpy() == pytest.approx(expected.detach().numpy(), rel=1e-4, abs=1e-2)
        assert (expected[:, 0] < 100).any()
        model.hparams["least"] = 100.0
        assert torch.equal(model(history, phases)[0], expected.clamp_min(100))
        model.hparams["least"] = 0


def test_a_history_of_another_step_is_refused(run: Path, command: Command) -> None:
    real_counts(100).iloc[::24].to_csv(command.folder / "days.csv", index=False)
    status, output = command("predict.py", "run=runs/first", "input=days.csv")
    assert status == 2
    assert "input=days.csv: its step is D; the model was trained on h" in output
    assert len(output.strip().splitlines()) == 1


def test_forecasts_are_written_to_a_table_alone(run: Path, command: Command) -> None:
    status, output = command("predict.py", "run=runs/first", f"input={OWN_NAME}", "output=out.txt")
    assert (status, output) == (2, "output=out.txt: expected a .csv, .tsv, .parquet file\n")


def test_fine_tuning_starts_from_the_weights(run: Path, command: Command, words: tuple[str, str]) -> None:
    short = (*SHORT, "trainer.max_epochs=1", "callbacks=[default]")
    status, output = command("train.py", "name=tuned", "init_from=runs/first", *words, *short)
    assert status == 0, output
    assert "tensors fit" in output


@pytest.mark.parametrize(("levels", "message"), [("[0.5,0.1]", "ascending"), ("[0.1,0.9]", "0.5 among them")])
def test_levels_that_make_no_fan_are_refused(
    levels: str, message: str, run: Path, command: Command, words: tuple[str, str]
) -> None:
    status, output = command("train.py", "name=new", *words, f"model.quantiles={levels}")
    assert (status, message in output) == (2, True), output
    assert not (run.parent / "new").exists()
