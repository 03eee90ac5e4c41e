"""A multilayer perceptron. A second network takes two files: this one and configs/model/mlp.yaml."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..engine import Count, From0Below1


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation (B, C) that uses the running statistics for a batch of one, as an epoch may end in."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and len(input) > 1:
            return super().forward(input)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class MLP(nn.Module):
    """Multilayer perceptron with two hidden layers of `hidden` units: images (B, C, H, W) to logits (B, K)."""

    def __init__(
        self, input_shape: Sequence[int], num_classes: int, hidden: Count = 256, dropout: From0Below1 = 0.2
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(input_shape), hidden),
            BatchNorm(hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            BatchNorm(hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)
