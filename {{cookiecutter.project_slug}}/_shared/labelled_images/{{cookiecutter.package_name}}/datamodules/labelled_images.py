"""Base class for datamodules of labelled images: splits, facts and floats. images.py adds the rest for this task."""

import hashlib
from typing import Any, TypedDict

import numpy as np
import torch
from pydantic import PositiveInt
from torch.utils.data import DataLoader

from ..engine import Above0Below1, From0Below1, Seed, Workers
from ..engine.order import BatchOrder, batches
from .base import TensorDataModule
from .image_splits import LabelledImages, divide
from .image_store import ImageStore, as_floats, check_batch
from .memory import cores, processes_here
from .splits import check_split


class ImageFacts(TypedDict):
    """The data's properties that are passed to the model."""

    input_shape: list[int]  # (C, H, W)
    class_names: list[str]


class LabelledImagesDataModule(TensorDataModule):
    """Images and their classes, in stratified train, validation and test splits that `split_seed` determines.

    Batches are `(images (B, C, H, W), classes (B,))`; bytes become floats in [0, 1] on the device. `num_workers` are
    processes that read images from disk; null: as many as there are cores, and none if all images are in memory.
    """

    sample_name = "images"

    def __init__(
        self,
        val_fraction: Above0Below1 = 0.1,
        test_fraction: From0Below1 = 0.2,
        split_seed: Seed = 0,
        folds: PositiveInt | None = None,
        fold: PositiveInt | None = None,
        num_workers: Workers | None = None,
        **options: Any,
    ) -> None:
        super().__init__(num_workers=num_workers or 0, **options)
        check_split(val_fraction, test_fraction, folds, fold)
        self.val_fraction, self.test_fraction, self.split_seed = val_fraction, test_fraction, split_seed
        self.folds, self.fold = folds, fold
        self.chooses_workers = num_workers is None
        self.class_names: list[str] = []

    def load_images(self) -> LabelledImages:
        """Load all images. Raises RefusedError if they can't be read."""
        raise NotImplementedError(f"{type(self).__name__} must define load_images()")

    def load_splits(self) -> dict[str, tuple[Any, ...]]:
        labelled = self.load_images()
        images = labelled.images
        self.class_names = labelled.class_names
        parts = divide(labelled, self.val_fraction, self.test_fraction, self.split_seed, self.folds, self.fold)
        self.ids = {name: [labelled.ids[number] for number in index.tolist()] for name, index in parts.items()}
        of = images.part if isinstance(images, ImageStore) else images.__getitem__
        return {name: (of(index), labelled.targets[index]) for name, index in parts.items()}

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        stores = [part[0] for part in [*self.splits.values(), self.inputs] if part and isinstance(part[0], ImageStore)]
        if self.chooses_workers and not all(store.in_memory for store in stores):
            self.num_workers = max(1, cores() // (self.trainer.num_devices if self.trainer else processes_here()))
        for store in stores:
            if not store.in_memory:
                check_batch(min(self.batch_size, len(store)), store.image_shape, self.num_workers)

    # Images of files: their content is known by hashes

    @property
    def fingerprint_of(self) -> str:
        """What the fingerprint is of, for provenance.json."""
        images = next(iter(self.splits.values()))[0]
        is_content = not isinstance(images, ImageStore) or images.knows_content
        return "content" if is_content else "names, sizes and times of files"

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.class_names).encode())
        parts: list[tuple[Any, ...]] = [*self.splits.values()]
        for images, targets in parts:
            if not isinstance(images, ImageStore):
                return super().fingerprint()
            digest.update(f"{tuple(images.shape)}".encode() + images.stamps.tobytes() + targets.numpy().tobytes())
        return digest.hexdigest()

    def _keys(self, split: str) -> np.ndarray | None:
        images = self.splits[split][0]
        return images.keys if isinstance(images, ImageStore) else None

    def trained_on(self) -> np.ndarray:
        keys = [self._keys(split) for split in ("train", "val")]
        known = [each for each in keys if each is not None]
        return np.concatenate(known) if known else super().trained_on()

    def is_seen(self, keys: np.ndarray) -> np.ndarray:
        own = self._keys("test")
        return super().is_seen(keys) if own is None else np.isin(own, keys)

    def keep_in_test(self, kept: np.ndarray) -> None:
        images, targets = self.splits["test"]
        if not isinstance(images, ImageStore):
            super().keep_in_test(kept)
            return
        index = torch.from_numpy(kept.nonzero()[0])
        self.splits["test"] = (images.part(index), targets[index])  # type: ignore[unsupported-operation]
        self.ids["test"] = [self.ids["test"][number] for number in index.tolist()]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Convert bytes to floats in [0, 1], on the device and in the precision of the training."""
        batch = tuple(as_floats(part) for part in batch)
        return self.trainer.precision_plugin.convert_input(batch) if self.trainer else batch

    def predict_dataloader(self) -> DataLoader:
        return batches(self.inputs, BatchOrder(len(self.inputs[0]), self.batch_size), self.num_workers)

    @property
    def facts(self) -> ImageFacts:
        """Properties of the data that are passed to the model as arguments."""
        return {"input_shape": list(self.splits["train"][0].shape[1:]), "class_names": self.class_names}

    def describe(self) -> str:
        """Summarise the data in one line for the log."""
        return f"{len(self.class_names)} classes, images: {self.split_sizes()}"
