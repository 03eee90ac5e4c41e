"""Data that fits in memory: handed out a whole batch at a time, in an order that is a function of (seed, epoch).

And which samples train, validate and test: at random, in the proportions of strata, by whole groups, or by time. With
`folds` (k-fold cross-validation) the test part is the same in each fold; the rest is cut into `folds` parts, of which
part `fold`, from 1 on, validates.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import NonNegativeInt
from pytorch_lightning import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SequentialSampler

from ..errors import RefusedError, leave_signals, refusal
from ..front_door.values import BatchSize, Seed


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


def seed_of(*key: int) -> int:
    """A seed that is a function of whole numbers: near ones give seeds that have nothing in common."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=7).digest(), "big")


def seeded_generator(seed: int, epoch: int, position: int, device: torch.device) -> torch.Generator:
    """A random generator that is a function of (seed, epoch, position), and of nothing that ran before."""
    return torch.Generator(device).manual_seed(seed_of(seed, epoch, position))


class TensorDataModule(LightningDataModule):
    """Splits `train`, `val` and `test` of tensors (N, …); a batch is the tuple of their rows (B, …).

    A subclass says what they are in `load_splits`, sets `ids`, and reads what is to be predicted into `inputs`.
    """

    def __init__(self, batch_size: BatchSize = 64, seed: Seed = 0, num_workers: NonNegativeInt = 0) -> None:
        super().__init__()
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.splits: dict[str, tuple[Tensor, ...]] = {}
        self.ids: dict[str, Sequence[Any]] = {}  # of each split: what names a sample, such as a file or a row
        self.inputs: tuple[Tensor, ...] = ()  # of predict.py

    def load_splits(self) -> dict[str, tuple[Tensor, ...]]:
        """The tensors of each split. Raises RefusedError where they can't be read."""
        raise NotImplementedError(f"{type(self).__name__} has to say where its data comes from")

    def dataset(self, split: str) -> Any:
        """What is indexed by a batch of numbers; a subclass may give more samples than there are rows."""
        return TensorBatches(*self.splits[split])

    def setup(self, stage: str | None = None) -> None:
        if stage != "predict" and not self.splits:
            self.splits = self.load_splits()

    def fingerprint(self) -> str:
        """SHA-256 of all that is trained and tested on, as it is split."""
        return fingerprint([tensor for split in self.splits.values() for tensor in split])

    def sample_ids(self, split: str, index: Tensor) -> list[Any]:
        """The ids of the samples at `index` (B,) of a split."""
        return [self.ids[split][number] for number in index.tolist()]

    def train_dataloader(self) -> DataLoader:
        # Lightning's overfit_batches wants the same batches in each epoch.
        overfit = self.trainer is not None and getattr(self.trainer, "overfit_batches", 0) > 0
        return self._batches("train", seed=None if overfit else self.seed)

    def val_dataloader(self) -> DataLoader:
        return self._batches("val")

    def test_dataloader(self) -> DataLoader:
        return self._batches("test")

    def predict_dataloader(self) -> DataLoader:
        return batches(self.inputs, BatchOrder(len(self.inputs[0]), self.batch_size))

    def _batches(self, split: str, seed: int | None = None) -> DataLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        data = self.dataset(split)
        training = self.trainer if split == "train" else None
        order = BatchOrder(len(data), self.batch_size, seed=seed, rank=rank, world=world, trainer=training)
        return batches(data, order, self.num_workers)

    def generator(self, device: torch.device) -> torch.Generator:
        """For the training batch at hand: a function of (seed, epoch, position), for augmentation on its device."""
        trainer = self.trainer
        if trainer is None:
            raise RuntimeError("A batch has a position in a training; there is no trainer here")
        position = trainer.fit_loop.epoch_loop.batch_progress.current.ready * trainer.world_size + trainer.global_rank
        return seeded_generator(self.seed, trainer.current_epoch, position, device)


class Split(NamedTuple):
    """The indices of the samples of each part, (n,) each."""

    train: Tensor
    val: Tensor
    test: Tensor


def check_split(val_fraction: float, test_fraction: float, folds: int | None, fold: int | None) -> None:
    """Raises RefusedError, with the key of the datamodule, for arguments that don't fit each other."""
    if folds is None and val_fraction + test_fraction >= 1:
        why = f"with test_fraction={test_fraction} nothing is left to train on"
        raise refusal("datamodule.val_fraction", val_fraction, why)
    if folds is None and fold is not None:
        raise refusal("datamodule.fold", fold, "of how many? datamodule.folds=5, say")
    if folds is not None and folds < 2:
        raise refusal("datamodule.folds", folds, "expected at least 2")
    if folds is not None and fold is None:
        raise refusal("datamodule.folds", folds, f"which of them? datamodule.fold=1; train.py folds={folds} trains all")
    if folds is not None and fold is not None and not 1 <= fold <= folds:
        raise refusal("datamodule.fold", fold, f"expected 1 to {folds}")


def split_at_random(
    size: int,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    *,
    folds: int | None = None,
    fold: int | None = None,
    strata: Tensor | None = None,
    groups: Tensor | None = None,
    what: str = "samples",
) -> Split:
    """Divide `size` samples; equal `seed` gives equal parts.

    With `strata` (N,), whole numbers, each part holds them in the proportions of the whole; with `groups` (N,) all
    samples of a group are in one part. `what` names the samples in a RefusedError, raised where they are too few.
    """
    everything = np.arange(size)
    kind = (None if strata is None else strata.numpy(), None if groups is None else groups.numpy())
    try:
        rest, test = _two_parts(everything, test_fraction, seed, *kind)
        if folds is None or fold is None:
            train, val = _two_parts(rest, val_fraction / (1 - test_fraction), seed, *kind)
        else:
            train, val = _fold(rest, folds, fold, seed, *kind)
    except ValueError as error:
        of = "" if strata is None else f" (the rarest class has {torch.bincount(strata).min().item()})"
        of = of if groups is None else f" in {len(groups.unique())} groups"
        raise RefusedError(f"datamodule: {size} {what}{of} are too few to be split: {error}") from error
    return Split(*(torch.from_numpy(part) for part in (train, val, test)))


def split_as_given(
    given: Mapping[str, Tensor],
    val_fraction: float,
    test_fraction: float,
    seed: int,
    *,
    folds: int | None = None,
    fold: int | None = None,
    strata: Tensor | None = None,
    groups: Tensor | None = None,
    what: str = "samples",
) -> Split:
    """Take the splits that the data comes in: `given` holds the indices (n,) of train, and of val, test or both.

    A split that it lacks is cut from train. With `folds` train and val together are cut into them; the test stays.
    With a `test_fraction` of 1 nothing is trained on: the test is the one that is given, or all samples.
    """
    if test_fraction == 1:
        return Split(torch.arange(0), torch.arange(0), given.get("test", torch.cat([*given.values()])))
    kind = (None if strata is None else strata.numpy(), None if groups is None else groups.numpy())
    parts = {name: index.numpy() for name, index in given.items()}
    try:
        if "test" not in parts:
            parts["train"], parts["test"] = _two_parts(parts["train"], test_fraction, seed, *kind)
        if folds is not None and fold is not None:
            rest = np.concatenate([parts[name] for name in ("train", "val") if name in parts])
            parts["train"], parts["val"] = _fold(rest, folds, fold, seed, *kind)
        elif "val" not in parts:
            parts["train"], parts["val"] = _two_parts(parts["train"], val_fraction, seed, *kind)
    except ValueError as error:
        raise RefusedError(f"datamodule: the {what} of train are too few to be split: {error}") from error
    return Split(*(torch.from_numpy(parts[name]) for name in Split._fields))


Parts = tuple[np.ndarray, np.ndarray]


def _two_parts(
    index: np.ndarray, fraction: float, seed: int, strata: np.ndarray | None, groups: np.ndarray | None
) -> Parts:
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    if groups is not None:
        splitter = GroupShuffleSplit(n_splits=1, test_size=fraction, random_state=seed)
        first, second = next(splitter.split(index, groups=groups[index]))
        return index[first], index[second]
    by = None if strata is None else strata[index]
    first, second = train_test_split(index, test_size=fraction, stratify=by, random_state=seed)
    return first, second


def _fold(
    index: np.ndarray, folds: int, fold: int, seed: int, strata: np.ndarray | None, groups: np.ndarray | None
) -> Parts:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

    if groups is not None:
        parts = GroupKFold(folds).split(index, groups=groups[index])
    elif strata is not None:
        if (fewest := np.bincount(strata[index]).min()) < folds:
            raise ValueError(f"one class has {fewest} for {folds} folds")
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(index, strata[index])
    else:
        parts = KFold(folds, shuffle=True, random_state=seed).split(index)
    first, second = list(parts)[fold - 1]
    return index[first], index[second]


def split_in_time(
    length: int, val_fraction: float, test_fraction: float, folds: int | None = None, fold: int | None = None
) -> tuple[range, range, range]:
    """Divide `length` steps of time: train comes before validation, which comes before the test.

    With `folds` what comes before the test is cut into `folds` + 1 blocks; fold k trains on the first k and validates
    on the next (rolling origin: Hyndman & Athanasopoulos, "Forecasting", section 5.10).
    """
    begin_test = length - round(length * test_fraction)
    if folds is None or fold is None:
        begin_val, end_val = begin_test - round(length * val_fraction), begin_test
    else:
        begin_val, end_val = (begin_test * part // (folds + 1) for part in (fold, fold + 1))
    return range(begin_val), range(begin_val, end_val), range(begin_test, length)
