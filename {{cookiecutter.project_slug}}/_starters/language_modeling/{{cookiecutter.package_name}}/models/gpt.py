"""A small GPT: pre-norm blocks, rotary positions, scaled dot-product attention, tied weights."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..engine import Count, From0Below1, refusal


class GPT(nn.Module):
    """GPT: tokens (B, T) to logits (B, T, V) of each next token; T is at most `context`.

    The style is GPT-2's (Radford et al., 2019) without biases, with the rotary positions of RoFormer (Su et al., 2021).
    The embedding is also the output layer (Press & Wolf, 2017). With `checkpointing`, activations within the blocks are
    recomputed in the backward pass: less memory, a third more time.
    """

    def __init__(
        self,
        vocab_size: int,
        context: int,
        width: Count = 128,
        layers: Count = 4,
        heads: Count = 4,
        dropout: From0Below1 = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if width % (2 * heads):
            raise refusal("model.network.width", width, f"expected a multiple of 2 × heads = {2 * heads}")
        self.context, self.checkpointing = context, checkpointing
        self.embedding = nn.Embedding(vocab_size, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        rates = 10_000 ** (-torch.arange(0, width // heads, 2) / (width // heads))
        self.register_buffer("rates", rates, persistent=False)
        self._init_weights(layers)

    def _init_weights(self, layers: int) -> None:
        """Initialise weights; those that write to the residual stream are scaled down by the number of layers."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                is_last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if is_last else 0.02)

    def forward(self, tokens: Tensor, cache: dict[str, Any] | None = None) -> Tensor:
        """Compute logits. With a `cache`, see `features`."""
        return F.linear(self.features(tokens, cache), self.embedding.weight)

    def features(self, tokens: Tensor, cache: dict[str, Any] | None = None) -> Tensor:
        """Compute features (B, T, width) of each token and those before it.

        With a `cache`, empty at first, `tokens` follow those of earlier calls, one at a time.

        The cache holds the keys and values of the last `context` - 1 tokens and is changed in place.
        """
        if cache is not None:
            tokens = tokens[:, -self.context :]
        rotation = self._rotation(tokens.shape[1], cache)
        x = self.dropout(self.embedding(tokens))
        for number, block in enumerate(self.blocks):
            if self.checkpointing and self.training:
                x = checkpoint(block, x, rotation, use_reentrant=False)
            else:
                x = block(x, rotation, None if cache is None else cache["blocks"][number])
        return self.norm(x)

    def _rotation(self, length: int, cache: dict[str, Any] | None) -> tuple[Tensor, Tensor]:
        """Return cosine and sine (T, head / 2) of the rotation angles of `length` new tokens."""
        first = 0
        if cache is not None:
            first = cache.setdefault("length", 0)
            cache["length"] += length
            cache.setdefault("blocks", [{"size": self.context - 1} for _ in self.blocks])
        angles = torch.arange(first, first + length, device=self.rates.device)[:, None] * self.rates
        return angles.cos(), angles.sin()


class Block(nn.Module):
    """Transformer block: attention, then an MLP of four times the width, each added to its input (B, T, width)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp_norm = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], cache: dict[str, Any] | None = None) -> Tensor:
        x = x + self.dropout(self.out(self._attention(self.attention_norm(x), rotation, cache)))
        return x + self.dropout(self.down(F.gelu(self.up(self.mlp_norm(x)), approximate="tanh")))

    def _attention(self, x: Tensor, rotation: tuple[Tensor, Tensor], cache: dict[str, Any] | None) -> Tensor:
        """Causal attention (B, T, width), in which keys and values from the cache precede those of `x`."""
        shape = *x.shape[:2], 3, self.heads, x.shape[2] // self.heads
        queries, keys, values = self.qkv(x).view(shape).permute(2, 0, 3, 1, 4)
        queries, keys = rotated(queries, *rotation), rotated(keys, *rotation)
        is_first = True
        if cache is not None:
            is_first = "keys" not in cache
            if not is_first:
                keys, values = torch.cat((cache["keys"], keys), 2), torch.cat((cache["values"], values), 2)
            cache["keys"], cache["values"] = (each[:, :, -cache["size"] :] for each in (keys, values))
        dropout = self.dropout.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=is_first, dropout_p=dropout)
        return mixed.transpose(1, 2).flatten(2)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs of features of `x` (B, heads, T, head) by the angle of their position: RoFormer, section 3.4."""
    one, other = x.chunk(2, -1)
    return torch.cat((one * cos - other * sin, other * cos + one * sin), -1).to(x.dtype)  # keeps bfloat16
