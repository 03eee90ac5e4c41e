"""Augmentation of training images, a whole batch at a time on its device."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def random_affine(images: Tensor, rotate: float, shift: float, zoom: float, generator: torch.Generator) -> Tensor:
    """Rotate, shift and scale each of `images` (B, C, H, W) by its own random amount; edge pixels are repeated.

    `rotate` is in degrees, `shift` a fraction of the side, `zoom` a fraction of the size; each acts in both directions.
    """
    angle, dx, dy, scale = torch.rand(4, len(images), generator=generator, device=images.device) * 2 - 1
    angle, scale = angle * math.radians(rotate), 1 + scale * zoom
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    # affine_grid's coordinates run from -1 to 1, so a whole side is 2.
    rows = [torch.stack([cos, -sin, dx * 2 * shift], 1), torch.stack([sin, cos, dy * 2 * shift], 1)]
    grid = F.affine_grid(torch.stack(rows, 1).to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
