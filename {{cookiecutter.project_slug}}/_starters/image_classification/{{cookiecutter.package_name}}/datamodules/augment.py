"""Random changes of training pictures, a whole batch at a time on its device."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def random_affine(images: Tensor, rotate: float, shift: float, zoom: float, generator: torch.Generator) -> Tensor:
    """Each picture of `images` (B, C, H, W) turned, moved and scaled by its own random amount; edges are repeated.

    `rotate` is in degrees to either side, `shift` a share of the side, `zoom` a share of the size.
    """
    angle, dx, dy, scale = torch.rand(4, len(images), generator=generator, device=images.device) * 2 - 1
    angle, scale = angle * math.radians(rotate), 1 + scale * zoom
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    # affine_grid's coordinates run from -1 to 1: a whole side is 2.
    rows = [torch.stack([cos, -sin, dx * 2 * shift], 1), torch.stack([sin, cos, dy * 2 * shift], 1)]
    grid = F.affine_grid(torch.stack(rows, 1).to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
