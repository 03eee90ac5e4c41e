"""Data that fits in memory: splits of tensors, handed out a whole batch at a time and in an exact order."""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import NonNegativeInt, PositiveInt
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from ..engine.data import BatchOrder, TensorBatches, batches, fingerprint, seeded_generator
from ..engine.limits import Seed


class TensorDataModule(LightningDataModule):
    """Splits `train`, `val` and `test` of tensors (N, …); a batch is the tuple of their rows (B, …).

    A subclass says what they are in `load_splits`, sets `ids`, and reads what is to be predicted into `inputs`.
    """

    def __init__(self, batch_size: PositiveInt = 64, seed: Seed = 0, num_workers: NonNegativeInt = 0) -> None:
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
