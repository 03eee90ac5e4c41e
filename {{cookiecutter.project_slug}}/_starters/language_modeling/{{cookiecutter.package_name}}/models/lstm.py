"""Long short-term memory. A second network takes two files: this one and configs/model/lstm.yaml."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..engine import Count, From0Below1


class LSTM(nn.Module):
    """LSTM: tokens (B, T) to logits (B, T, V) of each next token; the embedding is also the output layer."""

    def __init__(
        self, vocab_size: int, context: int, width: Count = 256, layers: Count = 1, dropout: From0Below1 = 0.0
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, cache: dict[str, Any] | None = None) -> Tensor:
        """Compute logits. With a `cache`, empty at first, `tokens` follow those of earlier calls."""
        return F.linear(self.features(tokens, cache), self.embedding.weight)

    def features(self, tokens: Tensor, cache: dict[str, Any] | None = None) -> Tensor:
        """Compute features (B, T, width) of each token and those before it."""
        cache = {} if cache is None else cache
        x, cache["state"] = self.lstm(self.dropout(self.embedding(tokens)), cache.get("state"))
        return self.dropout(self.norm(x))
