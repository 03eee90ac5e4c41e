"""The order of batches: a function of (seed, epoch), so that a resumed run continues with the batch that is due."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SequentialSampler

from .signals import leave_signals


class TensorBatches(Dataset[tuple[Tensor, ...]]):
    """Tensors of one length N, indexed a whole batch at a time: no per-sample work, no collating."""

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)


class BatchOrder(SequentialSampler):
    """Yields the indices (B,) of each batch. Shuffled anew each epoch, the same way for the same seed and epoch.

    With several processes each takes every `world`-th sample. Given the `trainer` that trains on it, it goes on behind
    the batches of the epoch that a stopped run has had. It is a SequentialSampler, so that Lightning does not put one
    of its own in its place.
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
    ) -> None:
        self.size, self.batch_size, self.seed, self.rank, self.world = size, batch_size, seed, rank, world
        self.trainer, self.epoch = trainer, 0

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
        """The batches of a whole epoch: indices (B,) each."""
        if self.seed is None:
            order = torch.arange(self.size)[self.rank :: self.world]
        else:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(self.size, generator=generator)[self.rank :: self.world]
            order = order[: self.size // self.world]  # the same number of steps in each process
        return order.split(self.batch_size)


class LazyLoader(DataLoader):
    """Reads its sampler when the first batch is asked for, not when Lightning prepares to: the epoch is known then."""

    def __iter__(self) -> Any:
        yield from super().__iter__()


def batches(data: Sequence[Tensor] | Dataset, order: BatchOrder, num_workers: int = 0) -> DataLoader:
    """A DataLoader that yields `data`, tensors or a dataset that takes the indices (B,) of a batch, in that order."""
    return LazyLoader(
        data if isinstance(data, Dataset) else TensorBatches(*data),
        batch_size=None,
        sampler=order,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=leave_signals,
    )


def fingerprint(tensors: Sequence[Tensor]) -> str:
    """SHA-256 of shapes, types and every byte of the tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def content_keys(tensors: Sequence[Tensor]) -> np.ndarray:
    """64 bits of each row of tensors (N, …), as uint64 (N,): rows that are equal in every value have equal keys."""
    parts = [tensor.contiguous().numpy() for tensor in tensors if tensor.numel()]
    keys = np.empty(len(tensors[0]), np.uint64)
    for number in range(len(keys)):
        digest = hashlib.blake2b(b"".join(part[number].tobytes() for part in parts), digest_size=8)
        keys[number] = int.from_bytes(digest.digest(), "little")
    return keys


def seed_of(*key: int) -> int:
    """A seed that is a function of whole numbers: near ones give seeds that have nothing in common."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=7).digest(), "big")


def seeded_generator(seed: int, epoch: int, position: int, device: torch.device) -> torch.Generator:
    """A random generator that is a function of (seed, epoch, position), and of nothing that ran before."""
    return torch.Generator(device).manual_seed(seed_of(seed, epoch, position))
