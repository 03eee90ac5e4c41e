"""A small EDSR: residual blocks without normalisation, followed by a sub-pixel convolution."""

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from ..engine import Count
from .subpixel import SubPixel


class ResidualBlock(nn.Module):
    """`x + conv(relu(conv(x)))` (B, C, h, w); the branch starts small, so that deep networks train from the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(width, width, kernel_size=3, padding=1)
        last.weight.data.mul_(0.1)
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3, padding=1), nn.ReLU(inplace=True), last
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        return features + self.branch(features)


class EDSR(nn.Module):
    """Residual network: centred low images (B, 3, h, w) to a correction of bicubic (B, 3, h * scale, w * scale).

    Source: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", 2017, who use 32 blocks of
    width 256. The last convolution works at the low size, as in ESPCN, which is a quarter of the work.
    """

    def __init__(self, scale: int, width: Count = 32, blocks: Count = 6, channels_last: bool = False) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, width, kernel_size=3, padding=1)
        residual = [ResidualBlock(width) for _ in range(blocks)]
        self.body = nn.Sequential(*residual, nn.Conv2d(width, width, kernel_size=3, padding=1))
        self.tail = SubPixel(width, scale)
        if channels_last:  # memory layout only: names and shapes of the weights stay
            convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, low: Tensor) -> Tensor:
        features = self.head(low)
        return self.tail(features + self.body(features))
