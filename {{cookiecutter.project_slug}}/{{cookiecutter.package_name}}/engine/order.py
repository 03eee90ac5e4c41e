"""The order of batches: a function of (seed, epoch), so that a resumed run continues with the next batch."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SequentialSampler

from .signals import ignore_signals


class TensorBatches(Dataset[tuple[Tensor, ...]]):
    """Dataset of tensors (N, …) that is indexed a batch at a time: no per-sample work, no collating."""

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)


class BatchOrder(SequentialSampler):
    """Yields the indices (B,) of each batch, shuffled as a function of (seed, epoch); in order without a seed.

    With several processes each takes every `world`-th sample. With a `trainer`, it skips the batches of this epoch that
    the interrupted run has consumed. With `strata` (N,), such as classes, an epoch of a seeded order has equally many
    samples of each. It inherits from SequentialSampler so that Lightning does not replace it.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        seed: int | None = None,
        rank: int = 0,
        world: int = 1,
        trainer: Trainer | None = None,
        strata: Tensor | None = None,
    ) -> None:
        self.size, self.batch_size, self.seed, self.rank, self.world = size, batch_size, seed, rank, world
        self.trainer, self.epoch, self.strata = trainer, 0, strata

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        own = len(range(self.rank, self.size, self.world)) if self.seed is None else self.size // self.world
        return -(-own // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready if self.trainer else 0
        yield from self.of_epoch(self.epoch)[done:]

    def of_epoch(self, epoch: int) -> Sequence[Tensor]:
        """Return the batches of a whole epoch: indices (B,) each."""
        if self.seed is None:
            order = torch.arange(self.size)[self.rank :: self.world]
        else:
            rng = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(self.size, generator=rng) if self.strata is None else balanced(self.strata, rng)
            order = order[self.rank :: self.world]
            order = order[: self.size // self.world]  # the same number of steps in each process
        return order.split(self.batch_size)


def balanced(strata: Tensor, generator: torch.Generator) -> Tensor:
    """Draw N indices of strata (N,) in random order, equally many of each; the samples of one have their turn alike."""
    counts = strata.unique(return_counts=True)[1].tolist()
    quota, more = divmod(len(strata), len(counts))
    one_more = torch.randperm(len(counts), generator=generator) < more
    drawn = []
    for members, extra in zip(strata.argsort(stable=True).split(counts), one_more.tolist(), strict=True):
        turns = [torch.randperm(len(members), generator=generator) for _ in range(-(-(quota + extra) // len(members)))]
        drawn.append(members[torch.cat(turns)[: quota + extra]])
    return torch.cat(drawn)[torch.randperm(len(strata), generator=generator)]


class LazyLoader(DataLoader):
    """Reads its sampler at the first batch, not when Lightning creates the iterator: only then is the epoch known."""

    def __iter__(self) -> Any:
        yield from super().__iter__()


def batches(data: Sequence[Tensor] | Dataset, order: BatchOrder, num_workers: int = 0) -> DataLoader:
    """Return a DataLoader over `data`, tensors or a dataset indexed by the indices (B,) of a batch, in this order."""
    return LazyLoader(
        data if isinstance(data, Dataset) else TensorBatches(*data),
        batch_size=None,
        sampler=order,
        num_workers=num_workers,
        # They share the memory of this process; Python 3.14 would send them a copy.
        multiprocessing_context="fork" if num_workers and sys.platform == "linux" else None,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=ignore_signals,
    )


def sha256_of(tensors: Sequence[Tensor]) -> str:
    """Return the SHA-256 of the shapes, types and bytes of the tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def content_keys(tensors: Sequence[Tensor]) -> np.ndarray:
    """Hash each row of tensors (N, …) to 64 bits, uint64 (N,). Equal rows have equal keys."""
    parts = [tensor.contiguous().numpy() for tensor in tensors if tensor.numel()]
    keys = np.empty(len(tensors[0]), np.uint64)
    for number in range(len(keys)):
        digest = hashlib.blake2b(b"".join(part[number].tobytes() for part in parts), digest_size=8)
        keys[number] = int.from_bytes(digest.digest(), "little")
    return keys


def seed_of(*key: int) -> int:
    """Hash whole numbers to a seed, so that similar numbers give unrelated seeds."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=7).digest(), "big")


def seeded_generator(seed: int, epoch: int, position: int, device: torch.device) -> torch.Generator:
    """Return a random generator that depends on (seed, epoch, position) alone."""
    return torch.Generator(device).manual_seed(seed_of(seed, epoch, position))
