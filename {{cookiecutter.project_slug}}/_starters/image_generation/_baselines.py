"""Baselines for image_generation: a Gaussian for each class, and real images as a lower limit of the distance."""

from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

METRIC = "frechet"
HIGHER_IS_BETTER = False
MARGIN = 0.5  # two thirds of the distance between two real sets of these sizes
PLOT = "samples"  # of the run, shown in the README
README = "Fréchet distance {mean:.2f} (a Gaussian for each class {class-conditional Gaussian:.2f})"
BESIDE = ("as many real images",)  # from the training data: a lower limit, which need not be beaten
DRAWS = 5


def baselines(datamodule: Any) -> dict[str, float]:
    """Fréchet distance to the test images: of samples from Gaussians (to be beaten), and of real images."""
    package = type(datamodule).__module__.partition(".")[0]
    frechet = import_module(f"{package}.models.frechet")
    train, test = datamodule.splits["train"], datamodule.splits["test"]
    judge = frechet.train_judge(*train)

    def distance(images: Tensor) -> float:
        metric = frechet.frechet_distance(judge, list(images.shape[1:]))
        metric.update(test[0], real=True)
        metric.update(images, real=False)
        return metric.compute().item()

    drawn = [distance(gaussian(*train, test[1], np.random.default_rng(seed))) for seed in range(DRAWS)]
    return {
        "class-conditional Gaussian": float(np.mean(drawn)),
        BESIDE[0]: distance(like(*train, test[1])),
    }


def gaussian(images: Tensor, targets: Tensor, wanted: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw an image of each class in `wanted` (N,) from a Gaussian fitted to its pixels, clipped to [0, 1]."""
    drawn = torch.empty(len(wanted), *images.shape[1:])
    for kind in wanted.unique():
        pixels = images[targets == kind].flatten(1).double().numpy()
        size = int((wanted == kind).sum())
        rows = rng.multivariate_normal(pixels.mean(0), np.cov(pixels, rowvar=False), size, method="svd")
        drawn[wanted == kind] = torch.from_numpy(rows).float().reshape(size, *images.shape[1:]).clamp(0, 1)
    return drawn


def like(images: Tensor, targets: Tensor, wanted: Tensor) -> Tensor:
    """Take as many `images` of each class as `wanted` (N,) has."""
    return torch.cat([images[targets == kind][: int((wanted == kind).sum())] for kind in wanted.unique()])
