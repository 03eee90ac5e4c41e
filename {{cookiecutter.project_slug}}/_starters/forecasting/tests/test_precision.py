"""Numbers keep their digits under any offset; numbers that float32 can't hold are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import seed_everything

from {{ cookiecutter.package_name }}.datamodules.series import SeriesDataModule
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.engine.training.train import build_datamodule, build_model

Configure = Callable[..., DictConfig]


def wave(offset: float, unit: float = 1.0) -> pd.DataFrame:
    """Thirty days of hourly values: a daily wave of ±20 units and a little noise around `offset`."""
    hours = np.arange(24 * 30)
    values = 20 * np.sin(hours * 2 * np.pi / 24) + np.random.default_rng(0).normal(size=len(hours)).round(3)
    return pd.DataFrame(
        {"time": pd.date_range("2024-01-01", periods=len(hours), freq="h"), "value": offset + unit * values}
    )


def measured(
    offset: float, unit: float, folder: Path, configure: Configure
) -> tuple[dict[str, float], np.ndarray, Any]:
    """Test metrics of an untrained model, its forecasts as written, and the datamodule."""
    rows = wave(offset, unit)
    rows.to_csv(folder / "mine.csv", index=False)
    cfg = configure("datamodule=series", "datamodule.context=48", "datamodule.seasons=[24]")
    cfg.datamodule.root = str(folder / "mine.csv")
    seed_everything(0, verbose=False)
    data = build_datamodule(cfg)
    model: Any = build_model(cfg, data).eval()
    torch.nn.init.normal_(model.network.quantiles.weight, std=0.1)
    with torch.no_grad():
        for batch in data.test_dataloader():
            model.test_step(batch, 0)
        metrics = {name: float(value) for name, value in model.test_metrics.compute().items()}
        metrics["naive"] = float(model.naive_metrics["season_24"].compute()["mase"])
        data.read_inputs(str(folder / "mine.csv"), model.hparams)
        outputs = [model.predict_step(data.inputs, 0)]
    data.write_predictions(outputs, folder / "out.csv", model.hparams)
    return metrics, pd.read_csv(folder / "out.csv").filter(like="q").to_numpy(), data


@pytest.mark.parametrize(
    ("offset", "unit"), [(2e9, 1.0), (-1.7e9, 1.0), (3e12, 1e3), (0.0, 1e-9), (1.0, 1e-6), (0, 1e9)]
)
def test_what_is_added_or_multiplied_changes_no_metric_and_no_digit(
    offset: float, unit: float, tmp_path: Path, configure: Configure
) -> None:
    expected, plain, _ = measured(0, 1, tmp_path, configure)
    found, forecasts, data = measured(offset, unit, tmp_path, configure)
    for name in ("loss", "mase", "coverage", "naive"):
        assert found[name] == pytest.approx(expected[name], rel=2e-3), name
    assert (forecasts - offset) / unit == pytest.approx(plain, abs=0.01)
    values = wave(offset, unit)["value"].to_numpy()
    (starts,) = data.splits["test"]
    batch = data.dataset("test")[torch.arange(len(starts))]
    targets = np.stack([values[start : start + 24] for start in starts.tolist()])
    assert (batch[2].double() + batch[4].double()[:, None]).numpy() == pytest.approx(targets, abs=1e-4 * unit)


def test_a_history_as_it_stands_is_forecast_too(tmp_path: Path, configure: Configure) -> None:
    """A float64 history needs no offset subtracted, as in a notebook."""
    wave(2e9).to_csv(tmp_path / "mine.csv", index=False)
    cfg = configure("datamodule=series", "datamodule.context=48", "datamodule.seasons=[24]")
    cfg.datamodule.root = str(tmp_path / "mine.csv")
    data = build_datamodule(cfg)
    model = build_model(cfg, data).eval()  # untrained, it forecasts the season before
    history = torch.from_numpy(wave(2e9)["value"].to_numpy(copy=True)[None, -48:])
    with torch.no_grad():
        quantiles = model(history, torch.zeros(1, 1))
    assert quantiles[0, :, 4].numpy() == pytest.approx(history[0, -24:].numpy(), abs=1e-4)


REFUSED = {
    "can't be told apart": (1e15, 1.0, "can't be told apart; subtract a constant"),
    "too large": (0.0, 1e17, "expected at most 1e17: use a larger unit"),
    "too small": (0.0, 1e-18, "expected 1e-15: use a smaller unit"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_numbers_that_nothing_could_compute_with_are_refused(kind: str, tmp_path: Path) -> None:
    offset, unit, message = REFUSED[kind]
    wave(offset, unit).to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(RefusedError) as refused:
        SeriesDataModule(tmp_path / "mine.csv", context=48).setup("fit")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_series_that_repeats_itself_is_measured_by_the_last_value(tmp_path: Path) -> None:
    rows = wave(0).assign(value=lambda each: np.tile(np.arange(24.0), 30))
    rows.to_csv(tmp_path / "mine.csv", index=False)
    data = SeriesDataModule(tmp_path / "mine.csv", context=48, seasons=[24])
    data.setup("fit")
    train = rows["value"].to_numpy()[: 720 - 108]
    assert data.scale[0] == pytest.approx(np.abs(np.diff(train)).mean())
