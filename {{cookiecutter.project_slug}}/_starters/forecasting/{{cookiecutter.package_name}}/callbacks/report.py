"""Plots for a forecaster: test forecasts with their quantiles, calibration, and error by horizon."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ..engine import log, save_figure, save_plot

BLUE, RED = "#4c78a8", "#e45756"
UNITS = {
    "D": "day", "B": "business day", "h": "hour", "min": "minute", "s": "second", "ms": "millisecond",
    "us": "microsecond", "ns": "nanosecond", "MS": "month",
}  # fmt: skip


class ForecastReport(Callback):
    """Save `forecasts.png` and `reliability.png` after the test, in the run's `plots/` and in the loggers.

    The `forecasts` windows drawn are evenly spaced over the test, not selected. A plot that can't be drawn is a
    warning. The log gets a table that compares the model with naive forecasts.
    """

    def __init__(self, forecasts: PositiveInt = 6) -> None:
        self.forecasts = forecasts
        self._reset(0)

    def _reset(self, windows: int) -> None:
        self.seen = 0
        self.chosen = np.linspace(0, windows - 1, min(self.forecasts, windows) + 2).astype(int)[1:-1].tolist()
        # Each drawn window: its number, history (C,), quantiles (H, Q), target (H,), scale (), offset ().
        self.windows: list[tuple[int, Tensor, Tensor, Tensor, Tensor, Tensor]] = []
        self.below: list[Tensor] = []  # per batch: number of targets below each quantile (Q,)
        self.errors: list[Tensor] = []  # per batch: scaled errors of the median and the seasonal-naive forecast (2, H)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._reset(len(datamodule.splits["test"][0]) // trainer.world_size)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Collect the quantiles (B, H, Q) that `test_step` returns as `outputs`."""
        history, _, target, scale, offset, *_ = batch
        for number in range(self.seen, self.seen + len(target)):
            if number in self.chosen:
                parts = (part[number - self.seen].cpu().double() for part in (history, outputs, target, scale, offset))
                self.windows.append((number * trainer.world_size, *parts))  # process 0 has every `world_size`-th window
        self.seen += len(target)
        self.below.append((target[..., None] < outputs).sum((0, 1)).cpu())
        median = outputs[..., outputs.shape[-1] // 2]
        forecasts = torch.stack([median, pl_module.seasonal_naive(history)])
        self.errors.append(((target - forecasts).abs() / scale[:, None]).sum(1).cpu())

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.windows:
            return
        levels, step = list(pl_module.hparams["quantiles"]), pl_module.hparams["step"]
        save_plot(trainer, "forecasts", lambda path: self._draw_forecasts(trainer, levels, path))
        below = torch.stack(self.below).sum(0) / (self.seen * len(self.errors[0][0]))
        errors = torch.stack(self.errors).sum(0) / self.seen
        coverage = float(trainer.callback_metrics["test/coverage"])
        save_plot(trainer, "reliability", lambda path: draw_reliability(below, errors, levels, step, coverage, path))
        if trainer.is_global_zero:
            for line in comparison(trainer.callback_metrics, pl_module, levels):
                log.info(line)

    def _draw_forecasts(self, trainer: Trainer, levels: list[float], path: Path) -> None:
        from matplotlib.figure import Figure

        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        columns = min(2, len(self.windows))
        rows = -(-len(self.windows) // columns)
        figure = Figure(figsize=(6.5 * columns, 2.6 * rows + 0.9), layout="constrained")
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes in grid[len(self.windows) :]:
            axes.axis("off")
        for axes, (number, history, quantiles, target, scale, offset) in zip(grid, self.windows, strict=False):
            times = datamodule.window_times("test", number)
            error = ((target - quantiles[:, quantiles.shape[-1] // 2]).abs() / scale).mean()
            draw_fan(axes, times, history + offset, quantiles + offset, target + offset, levels)
            title = f"{datamodule.window_series('test', number)} {times[len(history)]:%Y-%m-%d %H:%M}"
            axes.set_title(f"{title}  (MASE {error:.2f})", fontsize=9, loc="left", parse_math=False)
        handles, labels = grid[0].get_legend_handles_labels()
        for row in range(0, len(self.windows), columns):
            grid[row].set_ylabel(datamodule.unit, fontsize=9, parse_math=False)
        figure.suptitle("Test forecasts, evenly spaced; MASE: error relative to a seasonal-naive forecast")
        width = 3 if columns == 1 else -(-len(labels) // 2)
        figure.legend(handles, labels, loc="outside lower center", ncols=width, frameon=False, fontsize=9)
        save_figure(figure, path)


def draw_fan(
    axes: Any, times: Any, history: Tensor, quantiles: Tensor, target: Tensor, levels: list[float], shown: int = 2
) -> None:
    """Draw the last `shown` horizons of `history` (C,), the `quantiles` (H, Q) as bands, and `target` (H,).

    `times` (C + H,) belong to history and target.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    horizon, middle = len(target), len(levels) // 2
    before = min(len(history), shown * horizon)
    past, ahead = times[len(history) - before : len(history)], times[len(history) :]
    axes.plot(past, history[-before:], color="0.45", linewidth=1, label="history")
    for lower in range(middle):
        upper = len(levels) - 1 - lower
        strength = 0.7 * (lower + 1) / middle  # opaque colours, so that those of the legend are those seen
        axes.fill_between(
            ahead, quantiles[:, lower], quantiles[:, upper], linewidth=0,
            color=[1 - strength * (1 - part) for part in to_rgb(BLUE)],
            label=f"quantiles {levels[lower]:g} to {levels[upper]:g}",
        )  # fmt: skip
    axes.plot(ahead, quantiles[:, middle], color=BLUE, linewidth=1.6, label="median")
    axes.plot(ahead, target, color=RED, linewidth=1.2, label="target")
    axes.axvline(ahead[0], color="0.7", linewidth=0.8, linestyle=":", label="start of the forecast")
    locator = AutoDateLocator(maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.tick_params(labelsize=8)
    axes.xaxis.get_offset_text().set_fontsize(8)
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)


def comparison(metrics: Any, model: Any, levels: list[float]) -> list[str]:
    """Format the test's `metrics` as a table: the model, the naive forecasts, and the coverage of the quantiles."""
    names = {"persistence": "persistence (the last value)"}
    rows = {"forecast": "", **{names.get(name, f"{n} steps before"): f"/{name}" for name, n in model.naive.items()}}
    lines = [f"{'Test':<30} {'MASE':>8} {'WQL':>8}"]
    for label, suffix in rows.items():
        lines.append(f"  {label:<28} {metrics[f'test/mase{suffix}']:8.4g} {metrics[f'test/wql{suffix}']:8.4g}")
    if metrics["test/mase"] >= metrics["test/mase_naive"]:
        lines.append("The model is no better than a naive forecast: train longer, or try another model or context")
    if left_out := [n for n in model.hparams["seasons"] if n > model.hparams["context"]]:
        lines.append(f"Not compared, as context={model.hparams['context']} is too short: {left_out} steps before")
    coverage, nominal = float(metrics["test/coverage"]), levels[-1] - levels[0]
    between = f"{coverage:.1%} of the values lie between the quantiles {levels[0]:g} and {levels[-1]:g}"
    width = "" if abs(coverage - nominal) < 0.1 else f" (too {'narrow' if coverage < nominal else 'wide'})"
    lines.append(f"{between}; nominal: {nominal:.1%}{width}")
    return lines


def ahead_in_words(step: str) -> str:
    """Name the horizon's axis for steps of a frequency: `hours ahead`, `steps ahead (15 minutes each)`."""
    unit = step.lstrip("0123456789")
    count, word = step.removesuffix(unit), UNITS.get(unit, "recorded day")  # else weekdays: D[1111110]
    return f"steps ahead ({count} {word}s each)" if count else f"{word}s ahead"


def draw_reliability(
    below: Tensor, errors: Tensor, levels: list[float], step: str, coverage: float, path: Path
) -> None:
    """Draw the fraction of targets `below` each quantile (Q,), and the scaled `errors` (2, H) by step ahead."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="perfectly calibrated")
    left.plot(levels, below, color=BLUE, marker="o", label="forecast")
    left.set(xlabel="level of the quantile", ylabel="fraction of targets below it", title="Calibration")
    left.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    text = f"{levels[0]:g} to {levels[-1]:g} hold {coverage:.1%}\n(nominal {levels[-1] - levels[0]:.1%})"
    left.text(0.97, 0.03, text, ha="right", va="bottom", fontsize=9)
    ahead = range(1, errors.shape[1] + 1)
    right.plot(ahead, errors[1], color="0.6", label="seasonal-naive forecast")
    right.plot(ahead, errors[0], color=BLUE, label="forecast (median)")
    right.set(xlabel=ahead_in_words(step), ylabel="scaled error (MASE)", title="Error by horizon", ylim=0)
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
