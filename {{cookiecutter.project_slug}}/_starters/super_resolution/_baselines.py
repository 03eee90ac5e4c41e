"""Baselines for super_resolution: Pillow's and torch's bicubic interpolation on the same test regions."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

METRIC = "psnr"  # dB, of RGB without `scale` border pixels, over all test pixels of an image; the mean over images
HIGHER_IS_BETTER = True
MARGIN = 0.8
PLOT = "enlarged"  # of the run, shown in the README
README = "PSNR {mean:.1f} dB (bicubic {bicubic:.1f})"
BASELINES = ("bicubic", "bicubic (Pillow)")


def baselines(datamodule: Any) -> dict[str, float]:
    """PSNR of each baseline. Pillow makes the low images here, not the starter's own code."""
    scale = datamodule.scale
    regions, images = datamodule.splits["test"]
    true = regions.permute(0, 2, 3, 1).numpy()
    side = true.shape[1] // scale
    low = [Image.fromarray(each).resize((side, side), Image.Resampling.BICUBIC) for each in true]
    soft = [np.asarray(each.resize(true.shape[1:3], Image.Resampling.BICUBIC)) / 255 for each in low]
    tensors = torch.from_numpy(np.stack([np.asarray(each) for each in low])).permute(0, 3, 1, 2).float() / 255
    sharp = F.interpolate(tensors, scale_factor=scale, mode="bicubic").clamp(0, 1).permute(0, 2, 3, 1).numpy()
    enlarged = dict(zip(BASELINES, (sharp, np.stack(soft)), strict=True))
    return {name: psnr(each, true / 255, images.numpy(), scale) for name, each in enlarged.items()}


def psnr(enlarged: np.ndarray, true: np.ndarray, images: np.ndarray, border: int) -> float:
    """PSNR of regions (N, H, W, 3) in [0, 1]; `images` (N,) is the image number of each."""
    within = slice(border, -border)
    errors = np.square(enlarged - true)[:, within, within]
    return float(np.mean([-10 * np.log10(errors[images == number].mean()) for number in np.unique(images)]))
