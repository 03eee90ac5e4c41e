"""Average of the weights over the last steps, for validation, test and checkpoints."""

from collections.abc import Callable

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from ..engine import Above0Below1


class WarmAverage(WeightAveraging):
    """Exponential moving average of the weights over about the last 1 / (1 - `decay`) steps.

    Early in the training it is over fewer: a small table has 40 steps in all, and the weights of the first ones would
    be in the average to the end. Buffers are copied: codes of categories, whole numbers, would become others.
    """

    def __init__(self, decay: Above0Below1 = 0.98) -> None:
        super().__init__(use_buffers=False, avg_fn=warm_average(decay))


def warm_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Return a function of (average, weights, number of averaged steps n) that decays by (1 + n) / (10 + n) at most."""

    def average(averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        count = torch.as_tensor(steps)
        kept = ((1 + count) / (10 + count)).clamp(max=decay)
        return averaged.lerp(current, (1 - kept).to(averaged))

    return average
