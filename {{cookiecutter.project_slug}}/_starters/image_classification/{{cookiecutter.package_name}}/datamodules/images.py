"""What every datamodule of labelled pictures shares: splits, batches, augmentation, inputs of predict.py.

A dataset of your own is a subclass with one method, `load_pictures`; see digits.py and image_folder.py.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from ..engine.data import BatchOrder, batches, fingerprint, seeded_generator
from ..engine.errors import RefusedError
from ..engine.limits import Fraction, Seed, Share
from .augment import random_affine
from .pictures import read_inputs

Split = tuple[Tensor, Tensor]


class Pictures(NamedTuple):
    """`images` (N, C, H, W) as float in [0, 1], `targets` (N,) as whole numbers, `class_names` in their order.

    `ids` (N) say which picture is meant where one is spoken of: a file, or its number.
    """

    images: Tensor
    targets: Tensor
    class_names: list[str]
    ids: Sequence[Any]


class ImageFacts(TypedDict):
    """What a model is told of the pictures."""

    num_classes: int
    input_shape: list[int]  # (C, H, W)
    class_names: list[str]


class ImageDataModule(LightningDataModule):
    """Labelled pictures in memory, split into train, validation and test: stratified, and fixed by `split_seed`.

    `rotate` (degrees), `shift` (share of the side) and `zoom` (share) bound the random change of training pictures;
    all zero: none. Batches are `(images (B, C, H, W), targets (B,))`.
    """

    def __init__(
        self,
        batch_size: PositiveInt = 64,
        val_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.2,
        split_seed: Seed = 0,
        seed: Seed = 0,
        rotate: NonNegativeFloat = 0.0,
        shift: Share = 0.0,
        zoom: Share = 0.0,
        num_workers: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        if val_fraction + test_fraction >= 1:
            reason = f"with test_fraction={test_fraction} nothing is left to train on"
            raise RefusedError(f"datamodule.val_fraction={val_fraction}: {reason}")
        self.batch_size, self.num_workers = batch_size, num_workers
        self.val_fraction, self.test_fraction, self.split_seed = val_fraction, test_fraction, split_seed
        self.seed, self.rotate, self.shift, self.zoom = seed, rotate, shift, zoom
        self.splits: dict[str, Split] = {}
        self.ids: dict[str, list[Any]] = {}
        self.class_names: list[str] = []
        self.inputs: tuple[list[str], Tensor] = ([], torch.empty(0))

    def load_pictures(self) -> Pictures:
        """All labelled pictures. Raises RefusedError where they can't be read."""
        raise NotImplementedError(f"{type(self).__name__} has to say where its pictures come from: load_pictures()")

    def setup(self, stage: str | None = None) -> None:
        if stage == "predict" or self.splits:
            return
        images, targets, self.class_names, ids = self.load_pictures()
        rest, test = self._divide(torch.arange(len(targets)), targets, self.test_fraction)
        train, val = self._divide(rest, targets, self.val_fraction / (1 - self.test_fraction))
        chosen = {"train": train, "val": val, "test": test}
        self.splits = {name: (images[index], targets[index]) for name, index in chosen.items()}
        self.ids = {name: [ids[number] for number in index.tolist()] for name, index in chosen.items()}

    def _divide(self, index: Tensor, targets: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
        """Two parts of `index`, each with the classes in the proportions of the whole."""
        from sklearn.model_selection import train_test_split

        try:
            parts = train_test_split(
                index.numpy(), test_size=fraction, stratify=targets[index].numpy(), random_state=self.split_seed
            )
        except ValueError as error:
            fewest = torch.bincount(targets).min().item()
            raise RefusedError(
                f"datamodule: {len(targets)} pictures (the rarest class has {fewest}) are too few to be split: {error}"
            ) from error
        return torch.from_numpy(parts[0]), torch.from_numpy(parts[1])

    @property
    def facts(self) -> ImageFacts:
        """What the data says of itself; the arguments that a model gets from it."""
        images, _ = self.splits["train"]
        return {
            "num_classes": len(self.class_names),
            "input_shape": list(images.shape[1:]),
            "class_names": self.class_names,
        }

    def describe(self) -> str:
        """The data in a few words, for the log."""
        sizes = ", ".join(f"{len(targets):,} {name}" for name, (_, targets) in self.splits.items())
        return f"{len(self.class_names)} classes, pictures: {sizes}"

    def fingerprint(self) -> str:
        """SHA-256 of all pictures and targets, as they are split."""
        return fingerprint([tensor for split in self.splits.values() for tensor in split])

    def sample_ids(self, split: str, index: Tensor) -> list[Any]:
        """The ids of the pictures at `index` (B,) of a split: numbers of load_pictures, or files."""
        return [self.ids[split][number] for number in index.tolist()]

    def train_dataloader(self) -> DataLoader:
        # Lightning's overfit_batches wants the same batches in each epoch.
        overfit = self.trainer is not None and getattr(self.trainer, "overfit_batches", 0) > 0
        return self._batches("train", seed=None if overfit else self.seed)

    def val_dataloader(self) -> DataLoader:
        return self._batches("val")

    def test_dataloader(self) -> DataLoader:
        return self._batches("test")

    def _batches(self, split: str, seed: int | None = None) -> DataLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        tensors = self.splits[split]
        training = self.trainer if split == "train" else None
        order = BatchOrder(len(tensors[0]), self.batch_size, seed=seed, rank=rank, world=world, trainer=training)
        return batches(tensors, order, self.num_workers)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change training pictures at random: on the device, a whole batch at a time."""
        trainer = self.trainer
        if trainer is None or not trainer.training or not (self.rotate or self.shift or self.zoom):
            return batch
        images, targets = batch
        position = trainer.fit_loop.epoch_loop.batch_progress.current.ready * trainer.world_size + trainer.global_rank
        generator = seeded_generator(self.seed, trainer.current_epoch, position, images.device)
        return random_affine(images, self.rotate, self.shift, self.zoom, generator), targets

    # Inputs and outputs of predict.py

    def read_inputs(self, path: Path, model: Mapping[str, Any]) -> list[str]:
        """Read the picture, folder or .npy at `path` in the shape that the model was trained on.

        Returns a line for each file that can't be read. Raises RefusedError where none can.
        """
        names, images, unreadable = read_inputs(path, model["input_shape"])
        if not names:
            raise RefusedError(
                f"input={path}: no picture could be read" + "".join(f"; {why}" for why in unreadable[:1])
            )
        self.inputs = (names, images)
        return unreadable

    def predict_dataloader(self) -> DataLoader:
        _, images = self.inputs
        return batches((images,), BatchOrder(len(images), self.batch_size))

    def predictions_name(self, path: Path) -> str:
        return f"{path.stem or 'pictures'}.csv"

    def write_predictions(self, outputs: list[Tensor], path: Path, model: Mapping[str, Any]) -> int:
        """Write a row a picture: file name, class, and the probability of each class. Returns the number of rows."""
        names, class_names = self.inputs[0], model["class_names"]
        probabilities = torch.cat(outputs).float().cpu().numpy()
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["file", "class", *class_names])
            for name, row in zip(names, probabilities, strict=True):
                writer.writerow([name, class_names[int(np.argmax(row))], *(f"{value:.6f}" for value in row)])
        return len(names)
