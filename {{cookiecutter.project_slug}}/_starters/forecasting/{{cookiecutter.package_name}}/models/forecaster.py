"""LightningModule for forecasting: loss, metrics and optimizer, for any network."""

import math
from typing import Annotated, Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from ..engine import Above0Below1, Config, Given, Length, OptimizerConfig, SchedulerConfig, build, refusal
from .metrics import ForecastMetrics, quantile_loss
from .optimization import build_optimizer, parameter_groups

HARMONICS = 4  # pairs of sine and cosine per season
LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class Forecaster(LightningModule):
    """Train `network` to predict `quantiles` of the next `horizon` steps from `context` steps of history.

    The network gets each history normalised by its own mean and standard deviation, and predicts the difference of the
    quantiles from the seasonal-naive forecast. `network`, `optimizer` and `scheduler` are config nodes: plain dicts
    with a `_target_`, so that checkpoints hold only plain values. The datamodule provides `context`, `horizon`,
    `seasons`, `step`, `least` (a lower bound of the values) and `zoned` (true if times state their zone).
    """

    # Metrics that `monitor` may name, and whether lower ("min") or higher ("max") is better; None: neither.
    logged = {"train/loss": "min", "val/loss": "min", "val/mase": "min", "val/wql": "min", "val/coverage": None}

    # 1. Computations

    def __init__(
        self,
        network: Annotated[Config, Given("context", "horizon", "quantiles", "calendar")],
        optimizer: OptimizerConfig,
        context: Length,
        horizon: Length,
        seasons: list[int],
        step: str,
        least: float | None = None,
        zoned: bool = False,
        quantiles: list[Above0Below1] = LEVELS,
        scheduler: SchedulerConfig | None = None,
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
            # In place, so that the keys in checkpoints do not change. Not dynamic: a resumed run meets the shapes in
            # another order and must still get the same kernels.
            self.network.compile(dynamic=False)
        self.register_buffer("levels", torch.tensor(quantiles), persistent=False)
        self.val_metrics = ForecastMetrics(quantiles)
        self.test_metrics = ForecastMetrics(quantiles)
        # Naive forecasts by season length: the last value, and the last season for each that fits into the history.
        self.naive = {"persistence": 1} | {f"season_{n}": n for n in sorted(seasons) if 1 < n <= context}
        self.naive_metrics: Any = nn.ModuleDict({name: ForecastMetrics(quantiles) for name in self.naive})

    def forward(self, history: Tensor, phases: Tensor, offset: Tensor | None = None) -> Tensor:
        """Predict quantiles (B, H, Q), ascending in Q, of the steps after `history` (B, C).

        `phases` (B, M) are the positions, from 0 to 1, of the first of these steps in each season. The datamodule
        subtracts `offset` (B,) from the history, since float32 has 7 digits, and the quantiles lack it too. A history
        without an offset should be float64. Normalisation: Kim et al., "Reversible instance normalization", 2022.
        """
        mean = history.mean(1, keepdim=True)
        deviation = history.std(1, keepdim=True, correction=0)
        limits = torch.finfo(history.dtype)
        deviation = deviation.maximum(8 * limits.eps * mean.abs()).clamp_min(limits.tiny)  # for a constant history
        normalized = ((history - mean) / deviation).to(self.levels.dtype)
        network = self.network if self.training else self.network.forward  # only training uses the compiled network
        difference = network(normalized, waves(phases))
        quantiles = self.seasonal_naive(normalized)[..., None] + difference
        quantiles = quantiles.sort(-1).values  # so that they do not cross (Chernozhukov et al., 2010)
        quantiles = quantiles * deviation[..., None] + mean[..., None]
        least = self.hparams["least"]
        # Not in training, since clipped values have no gradient.
        if least is None or self.training:
            return quantiles
        return quantiles.clamp_min(least) if offset is None else quantiles.maximum((least - offset)[:, None, None])

    def seasonal_naive(self, history: Tensor, season: int | None = None) -> Tensor:
        """Repeat the last `season` steps of `history` (B, C), by default the longest season: (B, H)."""
        horizon, season = self.hparams["horizon"], season or self.season
        return history[:, -season:].repeat(1, -(-horizon // season))[:, :horizon]

    def loss(self, quantiles: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """Quantile loss () of (B, H, Q), in units of each series' seasonal-naive error."""
        return (quantile_loss(quantiles, target, self.levels) / scale[:, None, None]).mean()

    # 2. Train loop

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        history, phases, target, scale, _ = batch
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
        history, _, target, scale, offset = batch
        for name, season in self.naive.items():
            naive = self.seasonal_naive(history, season)[..., None].expand(-1, -1, len(self.levels))
            self.naive_metrics[name].update(naive, target, scale, offset)
        return self._evaluation_step(batch, self.test_metrics)

    def on_test_epoch_end(self) -> None:
        """Log the metrics of the model, of each naive forecast and of the best of these, and the nominal coverage."""
        self._log_epoch("test", self.test_metrics)
        self.log("test/coverage_nominal", self.levels[-1] - self.levels[0], sync_dist=True)
        naive: dict[str, dict[str, Tensor]] = {}
        for name, metrics in self.naive_metrics.items():
            naive[name] = metrics.compute()
            metrics.reset()
        for metric in ("mase", "wql"):
            values = {name: each[metric] for name, each in naive.items()}
            self.log(f"test/{metric}_naive", torch.stack([*values.values()]).min(), sync_dist=True)
            self.log_dict({f"test/{metric}/{name}": value for name, value in values.items()}, sync_dist=True)

    def predict_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        """Predict quantiles (B, H, Q), to which the batch's offset (B,) must be added."""
        return self(*batch)

    def _evaluation_step(self, batch: Batch, metrics: ForecastMetrics) -> Tensor:
        """Update `metrics`; return the quantiles (B, H, Q), which callbacks may plot."""
        history, phases, target, scale, offset = batch
        quantiles = self(history, phases, offset)
        metrics.update(quantiles, target, scale, offset)
        return quantiles

    def _log_epoch(self, split: str, metrics: ForecastMetrics) -> None:
        self.log_dict(
            {f"{split}/{name}": value for name, value in metrics.compute().items()}, prog_bar=True, sync_dist=True
        )
        metrics.reset()

    # 5. Optimizers

    def configure_optimizers(self) -> Any:
        if str(self.trainer.precision) in ("16-true", "bf16-true"):  # refused before the run begins
            mixed = str(self.trainer.precision).replace("true", "mixed")
            raise refusal("trainer.precision", self.trainer.precision, f"rounds the series; expected {mixed}")
        return build_optimizer(self, parameter_groups(self), monitor="val/loss")


def waves(phases: Tensor) -> Tensor:
    """Return sine and cosine of `phases` (B, M) at 1 to HARMONICS times the season's frequency: (B, 2·HARMONICS·M)."""
    turns = torch.arange(1, HARMONICS + 1, device=phases.device) * (2 * math.pi)
    angles = (phases[..., None] * turns).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], 1)
