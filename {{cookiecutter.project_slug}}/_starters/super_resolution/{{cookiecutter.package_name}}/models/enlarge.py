"""Enlarge images by bicubic interpolation, and large ones tile by tile."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def bicubic(low: Tensor, scale: int) -> Tensor:
    """Images (B, C, h, w) to (B, C, h * scale, w * scale): torch's bicubic (Keys 1981, a = -0.75)."""
    return F.interpolate(low, scale_factor=scale, mode="bicubic")


def reach(network: nn.Module) -> int:
    """How many pixels of the low image to each side a pixel of the enlarged one can depend on.

    The sum over all convolutions, which holds for any network whose convolutions have stride 1; at least the 2 of
    bicubic interpolation.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    return max(2, sum(int(each.dilation[0]) * (int(each.kernel_size[0]) // 2) for each in convolutions))


def tiled(enlarge: Callable[[Tensor], Tensor], low: Tensor, scale: int, tile: int, halo: int) -> Tensor:
    """`enlarge` of an image (1, C, h, w) of any size, on the CPU: memory is that of a tile, beside the result's.

    Each tile of `tile` pixels sees `halo` more to each side, so with a halo of the network's `reach` the result is
    that of the whole image.
    """
    channels, height, width = low.shape[1:]
    result = torch.empty(0)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            first, left_most = max(top - halo, 0), max(left - halo, 0)
            seen = enlarge(low[..., first : bottom + halo, left_most : right + halo])[0]
            rows = slice((top - first) * scale, (bottom - first) * scale)
            columns = slice((left - left_most) * scale, (right - left_most) * scale)
            if not result.numel():
                result = torch.empty(channels, height * scale, width * scale, dtype=seen.dtype)
            result[:, top * scale : bottom * scale, left * scale : right * scale] = seen[:, rows, columns].cpu()
    return result
