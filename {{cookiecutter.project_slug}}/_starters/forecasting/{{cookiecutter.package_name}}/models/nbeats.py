"""N-BEATS. A second network takes two files: this one and configs/model/nbeats.yaml."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from ..engine import Count, From0Below1


class NBeats(nn.Module):
    """N-BEATS with `depth` blocks of `layers` layers: history (B, C) and calendar (B, K) to quantiles (B, H, Q).

    Each block adds to the forecast and subtracts from the history what it explains. Source: Oreshkin et al., "N-BEATS",
    2020, the generic architecture.
    """

    def __init__(
        self,
        context: int,
        horizon: int,
        quantiles: int,
        calendar: int,
        width: Count = 256,
        depth: Count = 3,
        layers: Count = 3,
        dropout: From0Below1 = 0.1,
    ) -> None:
        super().__init__()
        self.horizon = horizon
        sizes = [context + calendar, *[width] * layers]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(nn.Sequential(nn.Linear(*pair), nn.GELU()) for pair in pairwise(sizes)),
                nn.Dropout(dropout),
            )
            for _ in range(depth)
        )
        self.explained = nn.ModuleList(nn.Linear(width, context) for _ in range(depth - 1))
        self.quantiles = nn.ModuleList(nn.Linear(width, horizon * quantiles) for _ in range(depth))
        for each in self.quantiles.parameters():
            nn.init.zeros_(each)  # starts as a naive forecast

    def forward(self, history: Tensor, calendar: Tensor) -> Tensor:
        forecast = torch.zeros((), device=history.device)
        for number, (block, quantiles) in enumerate(zip(self.blocks, self.quantiles, strict=True)):
            hidden = block(torch.cat([history, calendar], 1))
            forecast = forecast + quantiles(hidden)
            if number < len(self.explained):
                history = history - self.explained[number](hidden)
        return forecast.unflatten(1, (self.horizon, -1))
