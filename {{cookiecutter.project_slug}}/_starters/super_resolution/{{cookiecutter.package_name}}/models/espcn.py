"""ESPCN, with three layers. A second network takes two files: this one and configs/model/espcn.yaml."""

from torch import Tensor, nn

from ..engine import Count
from .subpixel import SubPixel


class ESPCN(nn.Module):
    """Three convolutions: centred low images (B, 3, h, w) to a correction of bicubic (B, 3, h * scale, w * scale).

    Source: Shi et al. 2016 (see subpixel.py), with ReLU instead of tanh.
    """

    def __init__(self, scale: int, width: Count = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width // 2, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            SubPixel(width // 2, scale),
        )

    def forward(self, low: Tensor) -> Tensor:
        return self.layers(low)
