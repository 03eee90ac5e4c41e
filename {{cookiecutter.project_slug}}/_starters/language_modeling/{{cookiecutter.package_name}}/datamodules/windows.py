"""Windows of a long array of tokens, cut a whole batch at a time, in an order that depends only on (seed, epoch)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..engine.order import BatchOrder, TensorBatches, seed_of

NGRAM = 32  # consecutive tokens by which text of the training is recognised


class TokenWindows(TensorBatches):
    """Window i has `context` tokens from `starts[i]` on and the next one. Index i + k * N is window i, k tokens later.

    `uncounted` (N,) is the number of its leading targets that do not count. A batch is windows (B, context + 1) and
    which of their targets count (B, context).
    """

    def __init__(self, tokens: np.ndarray, context: int, starts: Tensor, uncounted: Tensor) -> None:
        super().__init__(starts, uncounted)
        self.tokens = tokens
        self.offsets = torch.arange(context + 1)

    def places(self, index: Tensor) -> Tensor:
        """Return the positions at which the windows `index` (B,) begin."""
        return self.tensors[0][index % len(self)] + index // len(self)

    def chosen(self, kept: Tensor) -> "TokenWindows":
        """Select the windows for which `kept` (N,) is True."""
        starts, uncounted = self.tensors
        return TokenWindows(self.tokens, len(self.offsets) - 1, starts[kept], uncounted[kept])

    def __getitem__(self, index: Tensor) -> tuple[Tensor, ...]:
        starts, uncounted = super().__getitem__(index % len(self))
        places = (starts + index // len(self))[:, None] + self.offsets
        counted = self.offsets[:-1] >= uncounted[:, None]
        return torch.from_numpy(self.tokens[places.numpy()].astype(np.int64)), counted


def token_keys(tokens: np.ndarray, step: int = 1) -> np.ndarray:
    """Return multilinear 64-bit hashes of NGRAM consecutive tokens, at every `step`-th position."""
    factors = np.random.default_rng(0).integers(0, 2**64, NGRAM, np.uint64) | np.uint64(1)
    begins = max(0, len(tokens) - NGRAM + 1)
    keys = np.zeros(len(range(0, begins, step)), np.uint64)
    for place, factor in enumerate(factors):
        keys += factor * tokens[place : place + begins : step].astype(np.uint64)
    return keys


def training_windows(tokens: np.ndarray, context: int) -> TokenWindows:
    """Return adjacent windows over all tokens, each of which may also begin up to `context` - 1 tokens later."""
    starts = torch.arange((len(tokens) - context) // context) * context
    return TokenWindows(tokens, context, starts, torch.zeros_like(starts))


def evaluation_windows(tokens: np.ndarray, context: int, at_most: int | None = None) -> TokenWindows:
    """Return windows that overlap by half, so that targets have at least half a context; each target counts once.

    Of more than `at_most` windows, `at_most` evenly spaced ones are taken.
    """
    last = len(tokens) - context - 1
    step = max(1, context // 2)
    starts = torch.arange(0, last + step, step).clamp(max=last).unique()
    uncounted = torch.cat([torch.zeros(1, dtype=torch.long), starts[:-1] + context - starts[1:]])
    count = min(at_most or len(starts), len(starts))
    chosen = torch.linspace(0, len(starts) - 1, count, dtype=torch.float64).round().long()
    return TokenWindows(tokens, context, starts[chosen], uncounted[chosen])


class WindowOrder(BatchOrder):
    """Random order of training windows. One pass over the text cuts it at a random offset.

    With `epoch_batches`, a pass takes several epochs of that many batches.
    """

    def __init__(self, size: int, batch_size: int, context: int, epoch_batches: int | None, **options: Any) -> None:
        super().__init__(size, batch_size, **options)
        self.context = context
        pass_batches = super().__len__()
        self.epoch_batches = min(epoch_batches or pass_batches, pass_batches)
        self.epochs = pass_batches // self.epoch_batches  # per pass

    def __len__(self) -> int:
        return self.epoch_batches

    def of_epoch(self, epoch: int) -> Sequence[Tensor]:
        number, part = divmod(epoch, self.epochs)
        offset = 0 if self.seed is None else seed_of(self.seed, number) % self.context
        first = part * self.epoch_batches
        batches = super().of_epoch(number)[first : first + self.epoch_batches]
        return [index + offset * self.size for index in batches]
