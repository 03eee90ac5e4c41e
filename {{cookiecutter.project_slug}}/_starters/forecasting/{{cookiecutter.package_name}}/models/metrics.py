"""Forecast metrics: mean absolute scaled error, weighted quantile loss and coverage; calibration of quantiles."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

MAX_FACTOR = 8.0  # by which calibration moves quantiles apart, and at least its inverse
BINS = 800  # of equal ratio, between these: 0.5 % each


def quantile_loss(forecasts: Tensor, targets: Tensor, levels: Tensor) -> Tensor:
    """Compute twice the pinball loss (B, H, Q) of `forecasts` (B, H, Q) for `targets` (B, H) at `levels` (Q,).

    Its mean over evenly spaced levels approximates the CRPS (Gneiting & Raftery, "Strictly proper scoring rules",
    2007); at level 0.5 it is the absolute error.
    """
    errors = targets[..., None] - forecasts
    return 2 * torch.maximum(levels * errors, (levels - 1) * errors)


class ForecastMetrics(Metric):
    """Loss, MASE, weighted quantile loss and coverage over all steps of all windows since the last reset.

    - `loss`: mean of quantile_loss / scale, over levels too.
    - `mase`: mean of |target - median| / scale, where the scale of a series is its seasonal-naive error before the test
      (Hyndman & Koehler, "Another look at measures of forecast accuracy", 2006); below 1 beats that forecast.
    - `wql`: sum of quantile_loss over sum of |target| for each level, averaged over levels (as in Salinas et al.,
      "DeepAR", 2020, section 4.1: ρ-risk). Large series weigh more.
    - `coverage`: fraction of targets between the lowest and highest level; with levels 0.1 and 0.9 it should be 0.8.
    """

    full_state_update = False
    levels: Tensor
    scaled: Tensor
    loss: Tensor
    absolute: Tensor
    losses: Tensor
    inside: Tensor
    count: Tensor

    def __init__(self, levels: Sequence[float]) -> None:
        super().__init__()
        self.middle = list(levels).index(0.5)
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        for name in ("scaled", "loss", "absolute", "inside", "count"):
            self.add_state(name, torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("losses", torch.zeros(len(levels)), dist_reduce_fx="sum")

    def update(self, forecasts: Tensor, targets: Tensor, scale: Tensor, offset: Tensor | None = None) -> None:
        """Add a batch: `forecasts` (B, H, Q), `targets` (B, H), `scale` (B,), and the `offset` (B,) they lack."""
        median, lowest, highest = forecasts[..., self.middle], forecasts[..., 0], forecasts[..., -1]
        self.scaled += ((targets - median).abs() / scale[:, None]).sum()
        self.absolute += (targets if offset is None else targets + offset[:, None]).abs().sum()
        losses = quantile_loss(forecasts, targets, self.levels)
        self.losses += losses.sum((0, 1))
        self.loss += (losses / scale[:, None, None]).mean(-1).sum()
        self.inside += ((targets >= lowest) & (targets <= highest)).sum()
        self.count += targets.numel()

    def compute(self) -> dict[str, Tensor]:
        return {
            "loss": self.loss / self.count,
            "mase": self.scaled / self.count,
            "wql": (self.losses / self.absolute).mean(),
            "coverage": self.inside / self.count,
        }


class Calibration(Metric):
    """Factors (Q,) by which quantiles should be farther from the median to hold as many targets as their levels say.

    They come from the validation, to which the network was not fitted (as in Romano et al., "Conformalized quantile
    regression", 2019, with factors in place of differences, as the series have different units). Targets are counted in
    bins, so that memory does not grow and processes can add theirs.
    """

    full_state_update = False
    levels: Tensor
    counts: Tensor

    def __init__(self, levels: Sequence[float]) -> None:
        super().__init__()
        self.middle = list(levels).index(0.5)
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.add_state("counts", torch.zeros(len(levels), BINS + 1, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, forecasts: Tensor, targets: Tensor) -> None:
        """Add a batch: `forecasts` (B, H, Q) and `targets` (B, H)."""
        median = forecasts[..., self.middle, None]
        # A target as far from the median as the quantile has the ratio 1; one on the other side a negative one.
        ratio = ((targets[..., None] - median) / (forecasts - median)).nan_to_num(0.0)
        exponent = ratio.clamp(1 / MAX_FACTOR, MAX_FACTOR).log() / math.log(MAX_FACTOR)
        bins = ((exponent + 1) / 2 * BINS).ceil().long()
        bins += torch.arange(len(self.levels), device=bins.device) * (BINS + 1)
        self.counts += torch.bincount(bins.flatten(), minlength=self.counts.numel()).view_as(self.counts)

    def compute(self) -> Tensor:
        below = self.counts.cumsum(1) / self.counts.sum(1, keepdim=True).clamp_min(1)
        bins = (below < self.levels.maximum(1 - self.levels)[:, None]).sum(1)
        factors = MAX_FACTOR ** (bins / BINS * 2 - 1)
        return factors.where(self.levels != 0.5, 1.0)
