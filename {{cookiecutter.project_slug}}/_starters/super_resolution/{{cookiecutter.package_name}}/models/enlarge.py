"""Bicubic enlargement, and tiled enlargement of large images."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def bicubic(low: Tensor, scale: int) -> Tensor:
    """Enlarge images (B, C, h, w) to (B, C, h * scale, w * scale) by torch's bicubic (Keys 1981, a = -0.75)."""
    return F.interpolate(low, scale_factor=scale, mode="bicubic")


def reach(network: nn.Module) -> int:
    """Return the radius of the receptive field, in pixels of the low image.

    It is the sum over all convolutions, correct for any network whose convolutions have stride 1; at least 2, for
    bicubic.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    return max(2, sum(int(each.dilation[0]) * (int(each.kernel_size[0]) // 2) for each in convolutions))


def tiled(enlarge: Callable[[Tensor], Tensor], low: Tensor, scale: int, tile: int, halo: int) -> Tensor:
    """Apply `enlarge` to an image (1, C, h, w) tile by tile; the result, on the CPU, is the only large allocation.

    Each tile of `tile` pixels is extended by `halo` pixels on each side. With a halo of at least the network's `reach`,
    the result equals that for the whole image.
    """
    channels, height, width = low.shape[1:]
    result = torch.empty(0)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            halo_top, halo_left = max(top - halo, 0), max(left - halo, 0)
            enlarged = enlarge(low[..., halo_top : bottom + halo, halo_left : right + halo])[0]
            rows = slice((top - halo_top) * scale, (bottom - halo_top) * scale)
            columns = slice((left - halo_left) * scale, (right - halo_left) * scale)
            if not result.numel():
                result = torch.empty(channels, height * scale, width * scale, dtype=enlarged.dtype)
            result[:, top * scale : bottom * scale, left * scale : right * scale] = enlarged[:, rows, columns].cpu()
    return result
