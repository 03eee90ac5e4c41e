"""Data that fits in memory: handed out a whole batch at a time, in an order that is a function of (seed, epoch).

And which samples train, validate and test: at random, in the proportions of strata, by whole groups, or by time. With
`folds` (k-fold cross-validation) the test part is the same in each fold; the rest is cut into `folds` parts, of which
part `fold`, from 1 on, validates.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from ..engine import BatchSize, Seed, Workers
from ..engine.order import BatchOrder, TensorBatches, batches, content_keys, fingerprint, seeded_generator


class TensorDataModule(LightningDataModule):
    """Splits `train`, `val` and `test` of tensors (N, …); a batch is the tuple of their rows (B, …).

    A subclass says what they are in `load_splits`, sets `ids`, and reads what is to be predicted into `inputs`.
    """

    sample_name = "samples"  # what is counted in the log, such as images
    input_example = "<your files>"  # a value of predict.py's `input=`

    # The arguments of a subclass that divides its data by them.
    val_fraction: float
    test_fraction: float
    folds: int | None
    fold: int | None

    def __init__(self, batch_size: BatchSize = 64, seed: Seed = 0, num_workers: Workers = 0) -> None:
        super().__init__()
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.splits: dict[str, tuple[Tensor, ...]] = {}
        self.ids: dict[str, Sequence[Any]] = {}  # of each split: what names a sample, such as a file or a row
        self.inputs: tuple[Tensor, ...] = ()  # of predict.py
        self.trained: Mapping[str, Any] = {}  # hyper-parameters of the model that evaluate.py tests

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

    # Evaluation on other data

    def take_whole(self) -> None:
        """Before `setup`: hold all samples for the test. Data that comes with splits of its own keeps them."""
        self.val_fraction, self.test_fraction, self.folds, self.fold = 0.0, 1.0, None, None

    def trained_on(self) -> np.ndarray:
        """Keys, as uint64, of the content that training has seen; validation has chosen the checkpoint."""
        return np.concatenate([content_keys(self.splits[split]) for split in ("train", "val")])

    def is_seen(self, keys: np.ndarray) -> np.ndarray:
        """Whether each test sample (N,) is among what has the `keys` that `trained_on` of a run gave."""
        return np.isin(content_keys(self.splits["test"]), keys)

    def keep_in_test(self, kept: np.ndarray) -> None:
        """Leave the test samples out for which `kept` (N,) is False."""
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
        """The files that predict.py writes where the output is `path`; they may not be any that are read."""
        return [path]

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
