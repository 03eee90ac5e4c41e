"""A multilayer perceptron with residual connections, on embedded numbers and categories.

Source: Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data", 2021, section 3.2; with layer norms
instead of batch norms, so that a batch of one row works.
"""

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from ..engine import Count, From0Below1
from .features import CategoryEmbedding, NumberEmbedding, NumberEncoding


class ResNet(nn.Module):
    """ResNet with `blocks` residual blocks of `width` units and `hidden_factor` times as many inside; outputs (B, K).

    Categories are embedded in `embedding` features, numbers in half as many, by `number_embedding` (NumberEmbedding).
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
        number_embedding: NumberEncoding | None = "periodic",
        frequencies: Count = 16,
        sigma: PositiveFloat = 0.3,
    ) -> None:
        super().__init__()
        self.categories = CategoryEmbedding(category_sizes, embedding)
        number_width = 3 + (embedding // 2 if number_embedding else 0)
        self.numbers = (
            NumberEmbedding(number_embedding, num_numbers, embedding // 2, frequencies, sigma)
            if number_embedding
            else None
        )
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
        """Compute outputs (B, K) from values (B, F, 3) and rows (B, C) of Features."""
        embedded = [values, self.categories(rows)] + ([self.numbers(values)] if self.numbers else [])
        x = self.first(torch.cat([each.flatten(1) for each in embedded], 1))
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)
