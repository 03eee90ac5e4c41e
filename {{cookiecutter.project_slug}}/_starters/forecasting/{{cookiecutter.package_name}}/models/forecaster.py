"""The LightningModule of forecasting: what is computed, trained and measured, whatever the network."""

import math
from typing import Any

import torch
from pydantic import PositiveInt
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..engine.build import build
from ..errors import refusal
from ..front_door.values import Fraction
from .metrics import ForecastMetrics, quantile_loss
from .optimization import parameter_groups

HARMONICS = 4  # waves in a season that a network is told of
LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


class Forecaster(LightningModule):
    """Trains `network` to tell the quantiles at `levels` of the next `horizon` steps from `context` steps of history.

    The network sees each history in units of its own mean and deviation, and says by how much the quantiles are above
    what was there a season before. `network`, `optimizer` and `scheduler` are config nodes: plain dicts with a
    `_target_`, so that a checkpoint holds plain values alone. The datamodule tells `context`, `horizon`, `seasons`,
    `step`, and below which value none is, `least`.
    """

    # What `monitor` may name.
    logged = ("train/loss", "val/loss", "val/mase", "val/wql", "val/coverage")

    # 1. Computations

    def __init__(
        self,
        network: dict[str, Any],
        optimizer: dict[str, Any],
        context: PositiveInt,
        horizon: PositiveInt,
        seasons: list[int],
        step: str,
        least: float | None = None,
        quantiles: list[Fraction] = LEVELS,
        scheduler: dict[str, Any] | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if quantiles != sorted(set(quantiles)) or 0.5 not in quantiles:
            raise refusal("model.quantiles", quantiles, "expected ascending levels, 0.5 among them")
        self.save_hyperparameters()
        self.season = max((length for length in seasons if length <= context), default=1)
        calendar = 2 * HARMONICS * len(seasons)
        self.network = build(network, context=context, horizon=horizon, quantiles=len(quantiles), calendar=calendar)
        if compile:
            # In place: a checkpoint's keys stay. Each shape by itself: a continued run meets them in another order, and
            # gets the same kernels.
            self.network.compile(dynamic=False)
        self.register_buffer("levels", torch.tensor(quantiles), persistent=False)
        self.val_metrics = ForecastMetrics(quantiles)
        self.test_metrics = ForecastMetrics(quantiles)
        self.naive_metrics = ForecastMetrics(quantiles)

    def forward(self, history: Tensor, phases: Tensor) -> Tensor:
        """Quantiles (B, H, Q), ascending in Q, of what follows `history` (B, C).

        `phases` (B, M) say where in each season, from 0 to 1, the first of these steps lies. Normalization as in
        Kim et al., "Reversible instance normalization", 2022.
        """
        mean = history.mean(1, keepdim=True)
        deviation = history.std(1, keepdim=True, correction=0)
        deviation = deviation.clamp_min(1e-6) + 1e-6 * mean.abs()  # a constant history
        normalized = (history - mean) / deviation
        network = self.network if self.training else self.network.forward  # what is compiled is for training
        above = network(normalized, waves(phases))
        quantiles = self.seasonal_naive(normalized)[..., None] + above
        quantiles = quantiles.sort(-1).values  # they can't cross (Chernozhukov et al., 2010)
        quantiles = quantiles * deviation[..., None] + mean[..., None]
        least = self.hparams["least"]
        # Not in training: what is cut off has no gradient.
        return quantiles if least is None or self.training else quantiles.clamp_min(least)

    def seasonal_naive(self, history: Tensor) -> Tensor:
        """The last season of `history` (B, C) again and again: (B, H)."""
        horizon = self.hparams["horizon"]
        return history[:, -self.season :].repeat(1, -(-horizon // self.season))[:, :horizon]

    def loss(self, quantiles: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """The quantile loss () of (B, H, Q), in units of each series' seasonal-naive error."""
        return (quantile_loss(quantiles, target, self.levels) / scale[:, None, None]).mean()

    # 2. Train loop

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        history, phases, target, scale = batch
        loss = self.loss(self(history, phases), target, scale)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(target), sync_dist=True)
        return loss

    # 3. Validation loop

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._evaluation_step(batch, self.val_metrics)

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val", self.val_metrics)

    # 4. Test loop

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        history, _, target, scale = batch
        naive = self.seasonal_naive(history)[..., None].expand(-1, -1, len(self.levels))
        self.naive_metrics.update(naive, target, scale)
        return self._evaluation_step(batch, self.test_metrics)

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test", self.test_metrics)
        naive = self.naive_metrics.compute()
        self.naive_metrics.reset()
        self.log_dict({f"test/{name}_naive": naive[name] for name in ("mase", "wql")}, sync_dist=True)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Quantiles (B, H, Q)."""
        return self(*batch)

    def _evaluation_step(self, batch: Batch, metrics: ForecastMetrics) -> Tensor:
        """Returns the quantiles (B, H, Q), which callbacks may draw."""
        history, phases, target, scale = batch
        quantiles = self(history, phases)
        metrics.update(quantiles, target, scale)
        return quantiles

    def _log_epoch(self, split: str, metrics: ForecastMetrics) -> None:
        self.log_dict({f"{split}/{name}": value for name, value in metrics.compute().items()}, prog_bar=True, sync_dist=True)
        metrics.reset()

    # 5. Optimizers

    def configure_optimizers(self) -> Any:
        optimizer = build(self.hparams["optimizer"], parameter_groups(self))
        if self.hparams["scheduler"] is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = build(self.hparams["scheduler"], optimizer, total_steps=steps)
        interval = "epoch" if isinstance(scheduler, ReduceLROnPlateau) else "step"
        schedule = {"scheduler": scheduler, "interval": interval, "monitor": "val/loss"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def waves(phases: Tensor) -> Tensor:
    """Sine and cosine of `phases` (B, M) at 1 to HARMONICS times the frequency of the season: (B, 2·HARMONICS·M)."""
    turns = torch.arange(1, HARMONICS + 1, device=phases.device) * (2 * math.pi)
    angles = (phases[..., None] * turns).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], 1)
