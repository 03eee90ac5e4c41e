"""FT-Transformer: each column is a token, and the columns attend to each other.

Source: Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data", 2021, section 3.3.
"""

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..engine import Count, From0Below1, refusal
from .features import CategoryEmbedding, ColumnEmbedding, NumberEmbedding, NumberEncoding


class Tokens(ColumnEmbedding):
    """Embed values (B, F, 3) and rows (B, C) as tokens (B, 1 + F + C, D); the first is the output (CLS) token.

    The token of a number is a linear layer of its value plus what `embedding` makes of it.
    """

    def __init__(
        self, num_numbers: int, category_sizes: list[int], dim: int, embedding: NumberEmbedding | None = None
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.weight = nn.Parameter(torch.empty(num_numbers, 3, dim))
        self.bias = nn.Parameter(torch.empty(1 + num_numbers + len(category_sizes), dim))
        self.categories = CategoryEmbedding(category_sizes, dim)
        for parameter in (self.weight, self.bias):
            nn.init.uniform_(parameter, -(dim**-0.5), dim**-0.5)

    def forward(self, values: Tensor, rows: Tensor) -> Tensor:
        numbers = torch.einsum("bfk,fkd->bfd", values, self.weight)
        if self.embedding is not None:
            numbers = numbers + self.embedding(values)
        first = numbers.new_zeros(len(numbers), 1, self.bias.shape[1])
        return torch.cat([first, numbers, self.categories(rows)], 1) + self.bias


class Block(nn.Module):
    """Attention, then a gated layer (ReGLU), each with a pre-norm; the first block has none before its attention."""

    def __init__(self, dim: int, heads: int, dropout: float, attention_dropout: float, first: bool) -> None:
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.attention_norm = nn.Identity() if first else nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.merge = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        hidden = dim * 4 // 3
        self.gate = nn.Linear(dim, 2 * hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform tokens (B, T, D)."""
        x = x + self._attend(self.attention_norm(x))
        value, gate = self.gate(self.norm(x)).chunk(2, -1)
        return x + self.out(self.dropout(value * gate.relu()))

    def _attend(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        dropout = self.attention_dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.merge(mixed.transpose(1, 2).reshape(batch, tokens, dim))


class FTTransformer(nn.Module):
    """FT-Transformer with `blocks` blocks on tokens of `width` features; returns outputs (B, K).

    With `checkpointing`, activations within a block are recomputed in the backward pass: tables of many columns then
    fit in memory, and a step takes about a third longer.
    """

    def __init__(
        self,
        num_numbers: int,
        category_sizes: list[int],
        num_outputs: int,
        width: Count = 32,
        blocks: Count = 2,
        heads: Count = 4,
        dropout: From0Below1 = 0.1,
        attention_dropout: From0Below1 = 0.1,
        number_embedding: NumberEncoding | None = None,
        frequencies: Count = 16,
        sigma: PositiveFloat = 0.3,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise refusal("model.network.width", width, f"expected a multiple of heads={heads}")
        self.checkpointing = checkpointing
        numbers = (
            NumberEmbedding(number_embedding, num_numbers, width, frequencies, sigma) if number_embedding else None
        )
        self.tokens = Tokens(num_numbers, category_sizes, width, numbers)
        self.blocks = nn.ModuleList(
            Block(width, heads, dropout, attention_dropout, first=number == 0) for number in range(blocks)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, num_outputs))

    def forward(self, values: Tensor, rows: Tensor) -> Tensor:
        """Compute outputs (B, K) from values (B, F, 3) and rows (B, C) of Features."""
        x = self.tokens(values, rows)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.checkpointing and self.training else block(x)
        return self.head(x[:, 0])
