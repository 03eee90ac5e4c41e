"""Augmentation of training images, a whole batch at a time on its device."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def random_affine(
    images: Tensor, rotate: float, shift: float, zoom: float, flip: bool, generator: torch.Generator
) -> Tensor:
    """Rotate, shift and scale each of `images` (B, C, H, W) by its own random amount; edge pixels are repeated.

    `rotate` is in degrees, `shift` a fraction of the side, `zoom` a fraction of the size; each acts in both directions.
    `flip` mirrors half of the images, left to right.
    """
    angle, dx, dy, scale = torch.rand(4, len(images), generator=generator, device=images.device) * 2 - 1
    angle, scale = angle * math.radians(rotate), 1 + scale * zoom
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    # affine_grid's coordinates run from -1 to 1, so a whole side is 2.
    if flip:  # the column is that of the x coordinate
        mirror = torch.rand(len(images), generator=generator, device=images.device).lt(0.5)
        cos_x, sin_x = torch.where(mirror, -cos, cos), torch.where(mirror, -sin, sin)
    else:
        cos_x, sin_x = cos, sin
    rows = [torch.stack([cos_x, -sin, dx * 2 * shift], 1), torch.stack([sin_x, cos, dy * 2 * shift], 1)]
    grid = F.affine_grid(torch.stack(rows, 1).to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def apply_seeded(transforms: list[nn.Module], images: Tensor, seed: int) -> Tensor:
    """Apply transforms of kornia, which draw from torch's global generators, to `images` (B, C, H, W).

    Grey images are passed as RGB: some transforms of colours take nothing else.
    """
    is_grey = images.shape[1] == 1
    made = images.expand(-1, 3, -1, -1) if is_grey else images
    with torch.random.fork_rng([images.device] if images.is_cuda else []):
        torch.manual_seed(seed)
        for transform in transforms:
            made = transform(made)
    return made[:, :1] if is_grey else made
