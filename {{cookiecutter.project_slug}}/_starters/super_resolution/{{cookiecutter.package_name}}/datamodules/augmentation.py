"""Random crops of training regions, a whole batch at a time on its device."""

import torch
from torch import Tensor


def random_crops(regions: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Crop a random square (B, C, size, size) from each region (B, C, R, R), in one of eight flips and rotations."""
    count, side, device = len(regions), regions.shape[-1], regions.device
    corners = torch.randint(side - size + 1, (2, count, 1), generator=generator, device=device)
    mirrored, transposed = torch.rand(3, count, 1, generator=generator, device=device).lt(0.5).split([2, 1])
    pixels = corners + torch.arange(size, device=device)
    rows, columns = torch.where(mirrored, pixels.flip(-1), pixels)
    sample = torch.arange(count, device=device)[:, None, None]
    crops = regions[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return torch.where(transposed[0, :, :, None, None], crops.transpose(2, 3), crops)
