"""What image_generation has to beat: a Gaussian of each class, and what real images reach in place of generated."""

from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

METRIC = "frechet"
HIGHER_IS_BETTER = False
MARGIN = 0.5  # two thirds of what two sets of real images of these sizes are apart
PLOT = "samples"  # of the run, for the README
README = "Fréchet distance {mean:.2f} (a Gaussian for each class {class-conditional Gaussian:.2f})"
BESIDE = ("as many real images",)  # of the training data: the floor, which need not be beaten
DRAWS = 5


def baselines(datamodule: Any) -> dict[str, float]:
    """The distance to the test images: of a Gaussian's (what is to be beaten), and of real ones (what can't be)."""
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
    """An image of each class `wanted` (N,) from a Gaussian fitted to the pixels of that class, clipped to [0, 1]."""
    drawn = torch.empty(len(wanted), *images.shape[1:])
    for kind in wanted.unique():
        pixels = images[targets == kind].flatten(1).double().numpy()
        size = int((wanted == kind).sum())
        rows = rng.multivariate_normal(pixels.mean(0), np.cov(pixels, rowvar=False), size, method="svd")
        drawn[wanted == kind] = torch.from_numpy(rows).float().reshape(size, *images.shape[1:]).clamp(0, 1)
    return drawn


def like(images: Tensor, targets: Tensor, wanted: Tensor) -> Tensor:
    """As many of `images` of each class as there are in `wanted` (N,)."""
    return torch.cat([images[targets == kind][: int((wanted == kind).sum())] for kind in wanted.unique()])
