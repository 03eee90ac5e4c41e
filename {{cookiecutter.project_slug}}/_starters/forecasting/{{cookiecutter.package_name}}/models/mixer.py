"""A patch mixer: layers that mix patches of the history, first over time, then over features."""

from torch import Tensor, nn
from torch.nn import functional as F

from ..engine import Count, From0Below1


class PatchMixer(nn.Module):
    """Patch mixer: history (B, C) and calendar features (B, K) to quantiles (B, H, Q).

    The history is cut into patches of `patch` steps, each is embedded in `width` features, and `depth` blocks mix them.
    Source: Chen et al., "TSMixer", 2023, with the patches of Nie et al., "PatchTST", 2023.
    """

    def __init__(
        self,
        context: int,
        horizon: int,
        quantiles: int,
        calendar: int,
        patch: Count = 24,
        width: Count = 64,
        depth: Count = 3,
        dropout: From0Below1 = 0.1,
    ) -> None:
        super().__init__()
        self.patch, self.horizon = patch, horizon
        patches = -(-context // patch)
        self.padding = patches * patch - context  # of the first patch
        self.embed = nn.Linear(patch, width)
        self.calendar = nn.Linear(calendar, width)
        self.blocks = nn.Sequential(*(MixerBlock(patches, width) for _ in range(depth)))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Flatten(), nn.Dropout(dropout))
        self.quantiles = nn.Linear(patches * width, horizon * quantiles)
        for each in self.quantiles.parameters():
            nn.init.zeros_(each)  # starts as a naive forecast

    def forward(self, history: Tensor, calendar: Tensor) -> Tensor:
        patches = F.pad(history, (self.padding, 0)).unflatten(1, (-1, self.patch))
        mixed = self.blocks(self.embed(patches) + self.calendar(calendar)[:, None])
        return self.quantiles(self.head(mixed)).unflatten(1, (self.horizon, -1))


class MixerBlock(nn.Module):
    """Mix patches (B, P, W) over time, then over width; each is a residual branch of two layers."""

    def __init__(self, patches: int, width: int, expansion: int = 2) -> None:
        super().__init__()
        self.time = nn.Sequential(
            nn.LayerNorm(width), Transposed(), nn.Linear(patches, expansion * patches), nn.GELU(),
            nn.Linear(expansion * patches, patches), Transposed(),
        )  # fmt: skip
        self.width = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
        )

    def forward(self, patches: Tensor) -> Tensor:
        patches = patches + self.time(patches)
        return patches + self.width(patches)


class Transposed(nn.Module):
    """Transpose (B, P, W) to (B, W, P)."""

    def forward(self, patches: Tensor) -> Tensor:
        return patches.transpose(1, 2)
