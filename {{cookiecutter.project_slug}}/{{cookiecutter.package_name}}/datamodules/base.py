"""Data that fits in memory, indexed a whole batch at a time, in an order that is a function of (seed, epoch)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from ..engine import BatchSize, Seed, Workers
from ..engine.order import BatchOrder, TensorBatches, batches, content_keys, seeded_generator, sha256_of


class TensorDataModule(LightningDataModule):
    """Datamodule of tensors (N, …), split into `train`, `val` and `test`; a batch is the tuple of their rows (B, …).

    A subclass returns the tensors from `load_splits`, sets `ids`, and reads what is to be predicted into `inputs`.
    """

    sample_name = "samples"  # their name in the log, such as images
    seen_as = "are copies of"  # what test samples for which `is_seen` is True have to do with those of training
    input_example = "<your files>"  # an example for `input=` of predict.py

    # Arguments of a subclass that splits its data.
    val_fraction: float
    test_fraction: float
    folds: int | None
    fold: int | None

    def __init__(self, batch_size: BatchSize = 64, seed: Seed = 0, num_workers: Workers = 0) -> None:
        super().__init__()
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.splits: dict[str, tuple[Tensor, ...]] = {}
        self.ids: dict[str, Sequence[Any]] = {}  # for each split: the name of a sample, such as a file or a row
        self.inputs: tuple[Tensor, ...] = ()  # for predict.py
        self.trained: Mapping[str, Any] = {}  # hyper-parameters of the model; set by evaluate.py

    def load_splits(self) -> dict[str, tuple[Tensor, ...]]:
        """Return the tensors of each split. Raises RefusedError if they can't be read."""
        raise NotImplementedError(f"{type(self).__name__} must define load_splits()")

    def strata(self) -> Tensor | None:
        """Return the stratum, such as the class, (N,) of each training sample to draw equally many of each in an epoch.

        None: each sample is drawn once.
        """
        return None

    def dataset(self, split: str) -> Any:
        """Return a dataset indexed by the numbers of a batch (B,); it may have more samples than there are rows."""
        return TensorBatches(*self.splits[split])

    def setup(self, stage: str | None = None) -> None:
        if stage != "predict" and not self.splits:
            self.splits = self.load_splits()

    def fingerprint(self) -> str:
        """Return the SHA-256 of the data of all splits."""
        return sha256_of([tensor for split in self.splits.values() for tensor in split])

    def split_sizes(self) -> str:
        """Return the number of samples in each split, for `describe`."""
        return ", ".join(f"{len(tensors[0]):,} {name}" for name, tensors in self.splits.items())

    def sample_ids(self, split: str, index: Tensor) -> list[Any]:
        """Return the ids of the samples at `index` (B,) of a split."""
        return [self.ids[split][number] for number in index.tolist()]

    # Evaluation on other data

    def take_whole(self) -> None:
        """Before `setup`: use all samples for the test. Data with a test split of its own keeps it."""
        self.val_fraction, self.test_fraction, self.folds, self.fold = 0.0, 1.0, None, None

    def trained_on(self) -> np.ndarray:
        """Return keys, as uint64, of the content trained on; validation counts, as it chose the checkpoint."""
        return np.concatenate([content_keys(self.splits[split]) for split in ("train", "val")])

    def is_seen(self, keys: np.ndarray) -> np.ndarray:
        """Return a mask of the test samples (N,) that are among the `keys` from `trained_on` of a run."""
        return np.isin(content_keys(self.splits["test"]), keys)

    def keep_in_test(self, kept: np.ndarray) -> None:
        """Drop the test samples for which `kept` (N,) is False."""
        self.splits["test"] = tuple(tensor[torch.from_numpy(kept)] for tensor in self.splits["test"])
        if "test" in self.ids:
            self.ids["test"] = [name for name, keep in zip(self.ids["test"], kept, strict=True) if keep]

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

    def written(self, path: Path) -> list[Path]:
        """Return the files that predict.py writes for the output `path`; none of them may be one that is read."""
        return [path]

    def _batches(self, split: str, seed: int | None = None) -> DataLoader:
        data = self.dataset(split)
        training, strata = (self.trainer, self.strata()) if split == "train" else (None, None)
        place = {"rank": self.trainer.global_rank, "world": self.trainer.world_size} if self.trainer else {}
        order = BatchOrder(len(data), self.batch_size, seed=seed, trainer=training, strata=strata, **place)
        return batches(data, order, self.num_workers)

    def generator(self, device: torch.device) -> torch.Generator:
        """Return a generator for augmentation of the current training batch: a function of (seed, epoch, position)."""
        trainer = self.trainer
        if trainer is None:
            raise RuntimeError("A batch has a position in a training; there is no trainer here")
        position = trainer.fit_loop.epoch_loop.batch_progress.current.ready * trainer.world_size + trainer.global_rank
        return seeded_generator(self.seed, trainer.current_epoch, position, device)
