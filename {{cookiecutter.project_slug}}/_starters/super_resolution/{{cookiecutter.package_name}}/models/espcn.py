"""ESPCN, three layers: what a second network costs is this file and configs/model/espcn.yaml."""

from torch import Tensor, nn

from ..engine import Count
from .subpixel import SubPixel


class ESPCN(nn.Module):
    """Low images (B, 3, h, w), centred, to what bicubic interpolation lacks, (B, 3, h * scale, w * scale).

    Source: Shi et al. 2016 (see subpixel.py), with ReLU in place of tanh.
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
