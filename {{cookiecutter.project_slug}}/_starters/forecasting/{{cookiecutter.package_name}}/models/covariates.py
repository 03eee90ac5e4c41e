"""Covariates in a forecast: features of the history, and what changes ahead against the naive forecast's steps."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

FLAT = 0.25  # least deviation, in that of all training steps, by which a window is scaled


class Covariates(nn.Module):
    """Read covariates (B, C + H, V), of which V are channels of a kind: past, future or static.

    - `features` (B, K): of past and future channels the mean of the history, and means of the last 1, 2, 4, … steps,
      less that mean, in units of the window's deviation; of static ones the value.
    - `changes` (B, H, E): of future channels the difference of each step ahead from what `naive` forecasts for it, as
      it is and in units of the window's deviation, and from the mean of the window. A regression on the former has
      autoregressive errors.
    - `effect` (B, H, Q): what a network of one hidden layer, the same for each step, makes of the changes, the channels
      ahead and the static ones (the temporal decoder of Das et al., "TiDE", 2023).
    """

    def __init__(self, kinds: Sequence[str], context: int, quantiles: int, width: int = 32) -> None:
        super().__init__()
        self.context = context
        self.spans = [2**power for power in range(context.bit_length())]
        self.ahead, self.fixed = ([n for n, kind in enumerate(kinds) if kind == each] for each in ("future", "static"))
        self.moving = [n for n, kind in enumerate(kinds) if kind != "static"]
        self.num_features = len(self.moving) * (1 + len(self.spans)) + len(self.fixed)
        self.num_changes = 3 * len(self.ahead)
        if self.ahead:
            inputs = self.num_changes + len(self.ahead) + len(self.fixed)
            self.decoder = nn.Sequential(nn.Linear(inputs, width), nn.GELU())
            self.quantiles = nn.Linear(width, quantiles)
            for each in self.quantiles.parameters():
                nn.init.zeros_(each)

    def features(self, covariates: Tensor) -> Tensor:
        history = covariates[:, : self.context, self.moving]
        mean, deviation = window_scale(history)
        scaled = (history - mean) / deviation
        means = [scaled[:, -span:].mean(1) for span in self.spans]
        return torch.cat([mean[:, 0], *means, covariates[:, self.context - 1, self.fixed]], 1)

    def changes(self, covariates: Tensor, naive: Callable[[Tensor], Tensor]) -> Tensor:
        history, ahead = covariates[:, : self.context, self.ahead], covariates[:, self.context :, self.ahead]
        repeated = naive(history.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(history), -1)).transpose(1, 2)
        mean, deviation = window_scale(history)
        return torch.cat([ahead - repeated, (ahead - repeated) / deviation, (ahead - mean) / deviation], 2)

    def effect(self, covariates: Tensor, changes: Tensor) -> Tensor:
        if not self.ahead:
            return changes.new_zeros(())
        ahead = covariates[:, self.context :]
        return self.quantiles(self.decoder(torch.cat([changes, ahead[..., self.ahead], ahead[..., self.fixed]], 2)))


def window_scale(history: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (B, 1, V) of each channel in each window (B, C, V)."""
    return history.mean(1, keepdim=True), history.std(1, keepdim=True, correction=0).clamp_min(FLAT)
