"""A multilayer perceptron: what a second network costs is this file and configs/model/mlp.yaml."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from ..front_door.values import Count, Share


class MLP(nn.Module):
    """Flattens pictures (B, C, H, W), passes two hidden layers of `hidden` units, gives logits (B, K)."""

    def __init__(self, input_shape: Sequence[int], num_classes: int, hidden: Count = 256, dropout: Share = 0.2) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(input_shape), hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)
