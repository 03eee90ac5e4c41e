"""Downscaling that makes the low images."""

import torch.nn.functional as F
from torch import Tensor


def downscale(high: Tensor, scale: int) -> Tensor:
    """Downscale images (B, C, H, W) in [0, 1] to (B, C, H / scale, W / scale), rounded to bytes.

    H and W are multiples of `scale`. Antialiased bicubic, with the kernel of Pillow and MATLAB's imresize (Keys 1981, a
    = -0.5).
    """
    size = [side // scale for side in high.shape[-2:]]
    low = F.interpolate(high, size=size, mode="bicubic", antialias=True)
    return low.clamp(0, 1).mul(255).round().div(255)
