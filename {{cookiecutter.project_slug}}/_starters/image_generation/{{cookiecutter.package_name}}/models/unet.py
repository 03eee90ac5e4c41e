"""A small U-Net conditioned on time and class: the network of the flow."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from ..engine import Count, From0Below1, Stages


class Block(nn.Module):
    """Residual block whose features the condition scales and shifts: (B, in, H, W) to (B, out, H, W).

    Its last convolution is initialised to zero. The style is that of Dhariwal & Nichol, 2021, section 3.1.
    """

    def __init__(self, channels_in: int, channels_out: int, condition: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Sequential(
            nn.GroupNorm(groups(channels_in), channels_in),
            nn.SiLU(),
            nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1),
        )
        self.modulate = nn.Linear(condition, 2 * channels_out)
        self.norm = nn.GroupNorm(groups(channels_out), channels_out)
        self.leave = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), conv_from_zero(channels_out, channels_out))
        self.skip = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulate(condition)[:, :, None, None].chunk(2, dim=1)
        return self.skip(x) + self.leave(self.norm(self.enter(x)) * (1 + scale) + shift)


class UNet(nn.Module):
    """U-Net: images (B, C, H, W), times (B,) in [0, 1] and classes (B,) to (B, C, H, W).

    There is one block per stage on the way down, one in the middle, and one per stage on the way up, which also gets
    the features of the same size from the way down. The first stage has `width` channels, each later one twice as many
    at half the size. Class `num_classes` means "no class".
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        width: Count = 24,
        stages: Stages = 2,
        dropout: From0Below1 = 0.1,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        condition, widths = 4 * width, [width * 2**stage for stage in range(stages)]
        self.frequencies = width
        self.time = nn.Sequential(nn.Linear(2 * width, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.classes = nn.Embedding(num_classes + 1, condition)
        self.enter = nn.Conv2d(input_shape[0], width, kernel_size=3, padding=1)
        before = [width, *widths[:-1]]
        pairs = zip(before, widths, strict=True)
        self.down = nn.ModuleList([Block(one, other, condition, dropout) for one, other in pairs])
        self.middle = Block(widths[-1], widths[-1], condition, dropout)
        wider = [widths[-1], *widths[:0:-1]]
        pairs = zip(wider, widths[::-1], strict=True)
        self.up = nn.ModuleList([Block(one + other, other, condition, dropout) for one, other in pairs])
        self.leave = nn.Sequential(nn.GroupNorm(groups(width), width), nn.SiLU(), conv_from_zero(width, input_shape[0]))
        if channels_last:  # memory layout only: names and shapes of the weights stay
            convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, x: Tensor, t: Tensor, classes: Tensor) -> Tensor:
        condition = F.silu(self.time(waves(t, self.frequencies)) + self.classes(classes))
        x, skips = self.enter(x), []
        for stage, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2, ceil_mode=True) if stage else x, condition)
            skips.append(x)
        x = self.middle(x, condition)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            if x.shape != skip.shape:
                x = F.interpolate(x, size=skip.shape[-2:])
            x = block(torch.cat([x, skip], dim=1), condition)
        return self.leave(x)


def conv_from_zero(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A convolution initialised to zero, so that a residual block starts as its shortcut."""
    layer = nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1)
    nn.init.zeros_(layer.weight)
    return layer


def groups(channels: int) -> int:
    """Return the number of groups for GroupNorm: at most 8, of at least 4 channels each."""
    return math.gcd(8, max(1, channels // 4))


def waves(t: Tensor, count: int) -> Tensor:
    """Encode times (B,) in [0, 1] as sines and cosines of `count` frequencies from 1 to 1,000: (B, 2 · count)."""
    angles = t[:, None] * torch.logspace(0, 3, count, device=t.device)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
