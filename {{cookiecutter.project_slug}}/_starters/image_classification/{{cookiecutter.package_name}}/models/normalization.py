"""Normalisation of images by the mean and standard deviation of each channel of the training images."""

from typing import Annotated, NotRequired, TypedDict

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from ..engine import refusal


class ImageStatistics(TypedDict):
    """Statistics of the training images: those of ClassStatistics, and of each channel if images are normalised."""

    class_counts: list[Annotated[int, Ge(0)]]  # images of each class
    samples: NotRequired[Annotated[int, Ge(0)]]  # all, if one may have several classes or none
    pixel_mean: NotRequired[list[Annotated[float, Ge(0), Le(1)]]]
    pixel_std: NotRequired[list[Annotated[float, Gt(0)]]]


def pixels_of(statistics: ImageStatistics, channels: int) -> Tensor | None:
    """Return mean and standard deviation (2, C, 1, 1) of each channel; None if images are not normalised.

    Raises RefusedError if there are not as many of each as channels.
    """
    values = [statistics.get("pixel_mean"), statistics.get("pixel_std")]
    if values == [None, None]:
        return None
    sizes = [len(each or ()) for each in values]
    if sizes != [channels, channels]:
        raise refusal("statistics.pixel_mean", sizes, f"expected mean and deviation of {channels} channels")
    return torch.tensor(values)[..., None, None]


def normalized(images: Tensor, pixels: Tensor | None) -> Tensor:
    """Subtract the mean from images (B, C, H, W), then divide by the standard deviation."""
    if pixels is None:
        return images
    mean, std = pixels.to(images.dtype)
    return (images - mean) / std
