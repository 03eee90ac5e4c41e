"""A multilayer perceptron with residual connections, on embedded numbers and categories.

Source: Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data", 2021, section 3.2; with layer norms
instead of batch norms, so that a batch of one row works.
"""

import math
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from ..engine import Count, From0Below1
from .features import CategoryEmbedding, ColumnEmbedding


class PeriodicEmbedding(ColumnEmbedding):
    """Embed values (B, F, 2) as vectors (B, F, `dim`), by sines and cosines of each number at learnt frequencies.

    Source: Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning", 2022, section 3.3.
    """

    def __init__(self, num_numbers: int, frequencies: int, dim: int, sigma: float) -> None:
        super().__init__()
        self.frequency = nn.Parameter(sigma * torch.randn(num_numbers, frequencies))
        self.weight = nn.Parameter(torch.empty(num_numbers, 2 * frequencies, dim))
        self.bias = nn.Parameter(torch.zeros(num_numbers, dim))
        nn.init.normal_(self.weight, std=(2 * frequencies) ** -0.5)

    def forward(self, values: Tensor) -> Tensor:
        angle = 2 * math.pi * self.frequency * values[..., :1]  # (B, F, K)
        waves = torch.cat([angle.sin(), angle.cos()], -1)
        return (torch.einsum("bfk,fkd->bfd", waves, self.weight) + self.bias).relu()


class ResNet(nn.Module):
    """ResNet with `blocks` residual blocks of `width` units and `hidden_factor` times as many inside; outputs (B, K).

    `frequencies` is the number of frequencies that embed a number, 0 for none; `sigma` is their initial scale.
    """

    def __init__(
        self,
        num_numbers: int,
        category_sizes: list[int],
        num_outputs: int,
        width: Count = 96,
        blocks: Count = 2,
        hidden_factor: Count = 2,
        dropout: From0Below1 = 0.1,
        embedding: Count = 16,
        frequencies: Annotated[int, Field(ge=0, le=2**12)] = 16,
        sigma: PositiveFloat = 0.3,
    ) -> None:
        super().__init__()
        self.categories = CategoryEmbedding(category_sizes, embedding)
        self.periodic = PeriodicEmbedding(num_numbers, frequencies, embedding // 2, sigma) if frequencies else None
        number_width = 2 + (embedding // 2 if frequencies else 0)
        self.first = nn.Linear(number_width * num_numbers + embedding * len(category_sizes), width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width * hidden_factor),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(width * hidden_factor, width),
            )
            for _ in range(blocks)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, num_outputs))

    def forward(self, values: Tensor, rows: Tensor) -> Tensor:
        """Compute outputs (B, K) from values (B, F, 2) and rows (B, C) of Features."""
        embedded = [values, self.categories(rows)] + ([self.periodic(values)] if self.periodic else [])
        x = self.first(torch.cat([each.flatten(1) for each in embedded], 1))
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)
