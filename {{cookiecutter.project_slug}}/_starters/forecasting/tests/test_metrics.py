"""Forecast metrics follow their definitions, computed one number at a time."""

import pytest
import torch
from sklearn.metrics import mean_pinball_loss

from {{ cookiecutter.package_name }}.models.metrics import Calibration, ForecastMetrics, quantile_loss

LEVELS = [0.1, 0.5, 0.9]


@pytest.fixture
def forecasts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Quantiles (5, 7, 3), targets (5, 7) and scales (5,)."""
    generator = torch.Generator().manual_seed(0)
    quantiles = torch.randn(5, 7, 3, generator=generator).sort(-1).values
    return quantiles, torch.randn(5, 7, generator=generator), torch.rand(5, generator=generator) + 0.5


def test_metrics_of_batches_are_those_of_a_plain_loop(forecasts: tuple[torch.Tensor, ...]) -> None:
    quantiles, targets, scales = forecasts
    metrics = ForecastMetrics(LEVELS)
    for part in (slice(0, 2), slice(2, 5)):
        metrics.update(quantiles[part], targets[part], scales[part])
    scaled, inside, loss, losses, absolute = [], [], [], dict.fromkeys(LEVELS, 0.0), 0.0
    for window, truths, scale in zip(quantiles.tolist(), targets.tolist(), scales.tolist(), strict=True):
        for (low, median, high), truth in zip(window, truths, strict=True):
            scaled.append(abs(truth - median) / scale)
            inside.append(low <= truth <= high)
            absolute += abs(truth)
            for level, value in zip(LEVELS, (low, median, high), strict=True):
                each = 2 * (level * (truth - value) if truth >= value else (1 - level) * (value - truth))
                losses[level] += each
                loss.append(each / scale)
    values = {name: value.item() for name, value in metrics.compute().items()}
    assert values["loss"] == pytest.approx(sum(loss) / len(loss), rel=1e-5)
    assert values["mase"] == pytest.approx(sum(scaled) / len(scaled), rel=1e-5)
    assert values["coverage"] == pytest.approx(sum(inside) / len(inside))
    assert values["wql"] == pytest.approx(sum(loss / absolute for loss in losses.values()) / len(LEVELS), rel=1e-5)


def test_quantile_loss_is_twice_scikit_learns_pinball_loss(forecasts: tuple[torch.Tensor, ...]) -> None:
    quantiles, targets, _ = forecasts
    losses = quantile_loss(quantiles, targets, torch.tensor(LEVELS)).mean((0, 1))
    for place, level in enumerate(LEVELS):
        expected = 2 * mean_pinball_loss(targets.flatten(), quantiles[..., place].flatten(), alpha=level)
        assert losses[place].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_calibration_makes_quantiles_hold_what_their_levels_say(width: float) -> None:
    generator = torch.Generator().manual_seed(0)
    levels = [0.05, 0.2, 0.5, 0.7, 0.9]
    true = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(levels))
    median = torch.randn(200, 24, 1, generator=generator)
    forecasts, targets = median + width * true, median[..., 0] + torch.randn(200, 24, generator=generator)
    calibration = Calibration(levels)
    for part in (slice(0, 50), slice(50, 200)):
        calibration.update(forecasts[part], targets[part])
    factors = calibration.compute()
    assert factors.tolist() == pytest.approx([1 / width] * 2 + [1] + [1 / width] * 2, rel=0.1)
    calibrated = median + factors * (forecasts - median)
    below = (targets[..., None] < calibrated).float().mean((0, 1)).tolist()
    assert below == pytest.approx([0.05, 0.2, below[2], 0.7, 0.9], abs=0.005)
