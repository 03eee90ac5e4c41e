"""LightningModule for forecasting: loss, metrics and optimizer, for any network."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from ..datamodules.covariates import Covariate, channel_kinds
from ..engine import Above0Below1, Config, Given, Length, OptimizerConfig, SchedulerConfig, build, refusal
from .covariates import Covariates
from .linear_forecast import MAX_WEIGHTS, Problem, check_size, fit_linear
from .metrics import Calibration, ForecastMetrics, quantile_loss
from .optimization import build_optimizer, parameter_groups

HARMONICS = 4  # pairs of sine and cosine per season
LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
SHARES = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0]  # of the network in the mix with the linear forecast
Batch = tuple[Tensor, ...]  # history, phases, target, scale, offset, and covariates if there are any


class Forecaster(LightningModule):
    """Train `network` to predict `quantiles` of the next `horizon` steps from `context` steps of history.

    The network gets each history normalised by its own mean and standard deviation, and predicts the difference of the
    quantiles from a naive forecast. Beside it stands a linear forecast, fitted in closed form. Each validation chooses
    their mix, so that a network that has too little data does no harm, and calibrates the quantiles. `network`,
    `optimizer` and `scheduler` are config nodes: plain dicts with a `_target_`, so that checkpoints hold only plain
    values. The datamodule provides `context`, `horizon`, `seasons`, `step`, `least` (a lower bound of the values),
    `zoned` (true if times state their zone), `covariates` with their kinds and scales, and the naive forecast's season,
    `anchor` (None: the longest), and `damping`.
    """

    # Metrics that `monitor` may name, and whether lower ("min") or higher ("max") is better; None: neither.
    logged = {"train/loss": "min", "val/loss": "min", "val/mase": "min", "val/wql": "min", "val/coverage": None}

    levels: Tensor
    decay: Tensor
    linear: Tensor
    spread: Tensor
    share: Tensor
    factors: Tensor

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
        anchor: Length | None = None,
        damping: Annotated[float, Ge(0), Le(1)] = 0.0,
        covariates: list[Covariate] | None = None,
        quantiles: list[Above0Below1] = LEVELS,
        scheduler: SchedulerConfig | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__()
        check_arguments(quantiles, anchor, context)
        self.save_hyperparameters()
        self.middle = quantiles.index(0.5)
        self.season = max((length for length in seasons if length <= context), default=1)
        kinds = channel_kinds(covariates or [])
        self.covariates = Covariates(kinds, context, len(quantiles)) if kinds else None
        more = self.covariates.num_features + len(self.covariates.ahead) * horizon if self.covariates else 0
        calendar = 2 * HARMONICS * len(seasons) + more
        self.network = build(network, context=context, horizon=horizon, quantiles=len(quantiles), calendar=calendar)
        if compile:
            # In place, so that the keys in checkpoints do not change. Not dynamic: a resumed run meets the shapes in
            # another order and must still get the same kernels.
            self.network.compile(dynamic=False)
        self.steps = min(context, MAX_WEIGHTS)
        self._add_buffers(horizon, quantiles, damping)
        self.val_metrics: Any = nn.ModuleList(ForecastMetrics(quantiles) for _ in SHARES)
        self.calibrations: Any = nn.ModuleList(Calibration(quantiles) for _ in SHARES)
        self.test_metrics = ForecastMetrics(quantiles)
        # Naive forecasts by season length: the last value, and the last season for each that fits into the history.
        self.naive = {"persistence": 1} | {f"season_{n}": n for n in sorted(seasons) if 1 < n <= context}
        self.naive_metrics: Any = nn.ModuleDict({name: ForecastMetrics(quantiles) for name in self.naive})

    def _add_buffers(self, horizon: int, quantiles: list[float], damping: float) -> None:
        self.register_buffer("levels", torch.tensor(quantiles), persistent=False)
        self.register_buffer("decay", damping ** torch.arange(1.0, horizon + 1), persistent=False)
        # Fitted once, before training: weights of the last steps of the history and of covariates, and quantiles less
        # their median.
        features, changes = self.steps, 0
        if self.covariates:
            features, changes = features + self.covariates.num_features, self.covariates.num_changes
        check_size(features, changes, horizon)
        self.register_buffer("linear", torch.zeros(horizon, features + changes))
        self.register_buffer("spread", torch.zeros(horizon, len(quantiles)))
        # Chosen by each validation, and kept in its checkpoint.
        self.register_buffer("share", torch.ones(()))
        self.register_buffer("factors", torch.ones(len(quantiles)))

    def forward(
        self, history: Tensor, phases: Tensor, offset: Tensor | None = None, covariates: Tensor | None = None
    ) -> Tensor:
        """Predict quantiles (B, H, Q), ascending in Q, of the steps after `history` (B, C).

        `phases` (B, M) are the positions, from 0 to 1, of the first of these steps in each season. The datamodule
        subtracts `offset` (B,) from the history, since float32 has 7 digits, and the quantiles lack it too. A history
        without an offset should be float64. `covariates` (B, C + H, V) are of history and forecast. Normalisation: Kim
        et al., "Reversible instance normalization", 2022.
        """
        normalized, mean, deviation = self.normalize(history)
        if self.training:  # the network alone; not clipped, as clipped values have no gradient
            return in_units(self.network_quantiles(normalized, phases, covariates), mean, deviation)
        linear = self.linear_quantiles(normalized, covariates)
        quantiles = linear.lerp(self.network_quantiles(normalized, phases, covariates), self.share)
        quantiles = quantiles.sort(-1).values  # before the median is taken, as in calibration
        median = quantiles[..., self.middle, None]
        quantiles = in_units(median + self.factors * (quantiles - median), mean, deviation)
        least = self.hparams["least"]
        if least is None:
            return quantiles
        return quantiles.clamp_min(least) if offset is None else quantiles.maximum((least - offset)[:, None, None])

    def normalize(self, history: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return `history` (B, C) less its mean, in units of its standard deviation; the mean and deviation (B, 1)."""
        mean = history.mean(1, keepdim=True)
        deviation = history.std(1, keepdim=True, correction=0)
        limits = torch.finfo(history.dtype)
        deviation = deviation.maximum(8 * limits.eps * mean.abs()).clamp_min(limits.tiny)  # for a constant history
        return ((history - mean) / deviation).to(self.levels.dtype), mean, deviation

    def network_quantiles(self, normalized: Tensor, phases: Tensor, covariates: Tensor | None) -> Tensor:
        """Return the quantiles (B, H, Q) of the network, of a normalised history: what it adds to a naive forecast."""
        network = self.network if self.training else self.network.forward  # only training uses the compiled network
        calendar, naive = waves(phases), self.naive_forecast(normalized)[..., None]
        if self.covariates is None or covariates is None:
            return naive + network(normalized, calendar)
        ahead = covariates[:, self.covariates.context :, self.covariates.ahead].flatten(1)
        calendar = torch.cat([calendar, self.covariates.features(covariates), ahead], 1)
        effect = self.covariates.effect(covariates, self.covariates.changes(covariates, self.naive_forecast))
        return naive + network(normalized, calendar) + effect

    def linear_quantiles(self, normalized: Tensor, covariates: Tensor | None) -> Tensor:
        """Return the quantiles (B, H, Q) of the linear forecast, of a normalised history."""
        features, changes = self.linear_features(normalized, covariates)
        weights, own = self.linear.split([features.shape[1], changes.shape[2]], 1)
        linear = features @ weights.T + torch.einsum("bhe,he->bh", changes, own)
        return (self.naive_forecast(normalized) + linear)[..., None] + self.spread

    def linear_features(self, normalized: Tensor, covariates: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what the linear forecast reads: features (B, K) of the history, and changes (B, H, D) ahead."""
        last = normalized[:, -self.steps :]
        if self.covariates is None or covariates is None:
            return last, last.new_zeros(len(last), len(self.decay), 0)
        changes = self.covariates.changes(covariates, self.naive_forecast)
        return torch.cat([last, self.covariates.features(covariates)], 1), changes

    def naive_forecast(self, history: Tensor) -> Tensor:
        """Return a naive forecast (B, H) of `history` (B, C), that of the training with the least error.

        It repeats a season, and adds what the last value differs from that of a season before, damped by lead.
        """
        anchor = self.hparams["anchor"] or self.season
        repeated = self.seasonal_naive(history, anchor)
        if anchor == 1 or anchor >= history.shape[1]:
            return repeated
        return repeated + self.decay * (history[:, -1] - history[:, -anchor - 1])[:, None]

    def seasonal_naive(self, history: Tensor, season: int | None = None) -> Tensor:
        """Repeat the last `season` steps of `history` (B, C), by default the longest season: (B, H)."""
        horizon, season = self.hparams["horizon"], season or self.season
        return history[:, -season:].repeat(1, -(-horizon // season))[:, :horizon]

    def loss(self, quantiles: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """Quantile loss () of (B, H, Q), in units of each series' seasonal-naive error."""
        return (quantile_loss(quantiles, target, self.levels) / scale[:, None, None]).mean()

    # 2. Train loop

    def on_fit_start(self) -> None:
        """Fit the linear forecast to training windows in closed form, once."""
        data = getattr(self.trainer, "datamodule", None)
        if data is None or self.trainer.ckpt_path:  # a resumed run has loaded it; that of init_from is of other data
            return
        self.linear.zero_()
        self.spread.zero_()
        train, val = (partial(self._linear_problems, data, split) for split in ("train", "val"))
        if any(next(problems(), None) is None for problems in (train, val)):  # all are constant: nothing to learn from
            return
        weights, spread = fit_linear(train(), val, self.levels.cpu())
        self.linear.copy_(weights)
        self.spread.copy_(spread)

    def _linear_problems(self, data: Any, split: str) -> Iterator[Problem]:
        """Yield what the naive forecast lacks in batches, less windows whose history is constant, on the CPU."""
        for batch in data.some_windows(split):
            history, _, target, scale, _, *covariates = (part[batch[0].std(1) > 0].to(self.device) for part in batch)
            if not len(history):
                continue
            normalized, mean, deviation = self.normalize(history)
            features, changes = self.linear_features(normalized, *covariates or [None])
            lacking = (target - mean) / deviation - self.naive_forecast(normalized)
            yield Problem(*(part.cpu().double() for part in (features, changes, lacking, deviation / scale[:, None])))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        history, phases, target, scale, _, *covariates = batch
        loss = self.loss(self(history, phases, None, *covariates), target, scale)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(target), sync_dist=True)
        return loss

    # 3. Validation loop

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        history, phases, target, scale, offset, *rest = batch
        covariates = rest[0] if rest else None
        normalized, mean, deviation = self.normalize(history)
        linear = self.linear_quantiles(normalized, covariates)
        network = self.network_quantiles(normalized, phases, covariates)
        for share, metrics, calibration in zip(SHARES, self.val_metrics, self.calibrations, strict=True):
            quantiles = in_units(linear.lerp(network, share), mean, deviation)
            metrics.update(quantiles, target, scale, offset)
            calibration.update(quantiles, target)

    def on_validation_epoch_end(self) -> None:
        """Choose the share of the network, log its metrics, and calibrate its quantiles; the metrics are without it."""
        losses = torch.stack([metrics.compute()["loss"] for metrics in self.val_metrics])
        best = int(losses.argmin())
        if not self.trainer.sanity_checking:
            self.share.fill_(SHARES[best])
            self.factors.copy_(self.calibrations[best].compute())
        self._log_epoch("val", self.val_metrics[best])
        for each in (*self.val_metrics, *self.calibrations):
            each.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save what this validation chose: averaged weights (callbacks/ema) hold that of the one before."""
        checkpoint["state_dict"] |= {"share": self.share.clone(), "factors": self.factors.clone()}

    # 4. Test loop

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Measure the model and the naive forecasts; return the quantiles (B, H, Q), which callbacks may plot."""
        history, phases, target, scale, offset, *covariates = batch
        for name, season in self.naive.items():
            naive = self.seasonal_naive(history, season)[..., None].expand(-1, -1, len(self.levels))
            self.naive_metrics[name].update(naive, target, scale, offset)
        quantiles = self(history, phases, offset, *covariates)
        self.test_metrics.update(quantiles, target, scale, offset)
        return quantiles

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

    def predict_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """Predict quantiles (B, H, Q), to which the batch's offset (B,) must be added."""
        return self(*batch)

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


def check_arguments(quantiles: list[float], anchor: int | None, context: int) -> None:
    """Raises RefusedError if levels make no fan, or if the naive forecast repeats more than the history."""
    if quantiles != sorted(set(quantiles)) or 0.5 not in quantiles:
        raise refusal("model.quantiles", quantiles, "expected ascending levels, 0.5 among them")
    if anchor is not None and anchor > context:
        raise refusal("model.anchor", anchor, f"expected at most context={context}, which it repeats steps of")


def in_units(quantiles: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Undo the normalisation of quantiles (B, H, Q), sorted so that they do not cross (Chernozhukov et al., 2010)."""
    return quantiles.sort(-1).values * deviation[..., None] + mean[..., None]


def waves(phases: Tensor) -> Tensor:
    """Return sine and cosine of `phases` (B, M) at 1 to HARMONICS times the season's frequency: (B, 2·HARMONICS·M)."""
    turns = torch.arange(1, HARMONICS + 1, device=phases.device) * (2 * math.pi)
    angles = (phases[..., None] * turns).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], 1)
