"""Base class for datamodules of images to classify, with input and output of predict.py.

To use your own dataset, subclass ImageDataModule and write `load_images`; see digits.py and image_folder.py.
"""

import csv
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from ..engine import Config, From0Below1, RefusedError, build
from ..models.classes import decide
from ..models.multilabel import decide_labels, joined
from ..models.normalization import ImageStatistics
from .augmentation import apply_seeded, random_affine
from .image_files import colour
from .image_store import as_floats, read_inputs
from .labelled_images import LabelledImagesDataModule


class ClassifiedImageFacts(TypedDict):
    """The data's properties that are passed to the model; `statistics` are those of the training images."""

    input_shape: list[int]  # (C, H, W)
    class_names: list[str]
    multilabel: bool  # an image may have several of the classes, or none
    statistics: ImageStatistics


class ImageDataModule(LabelledImagesDataModule):
    """Images to classify.

    `rotate` (degrees), `shift` (fraction of the side) and `zoom` (fraction) limit the augmentation of training images.
    `flip` mirrors half of them, left to right. The transforms in `augment`, such as those of `kornia.augmentation`,
    follow. Transparent pixels show the colour `background`. With `balance`, an epoch has equally many training images
    of each class: those of rare classes are repeated, others are left to later epochs. With `normalize`, the model
    gets the mean and standard deviation of each channel of the training images, which are read once more for it.
    """

    input_example = "<an image, a folder of images or an .npy file>"
    separator = "|"  # between the labels of an image, if it may have several

    def __init__(
        self,
        rotate: NonNegativeFloat = 0.0,
        shift: From0Below1 = 0.0,
        zoom: From0Below1 = 0.0,
        flip: bool = False,
        augment: list[Config] | None = None,
        background: str = "white",
        balance: bool = False,
        normalize: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.balance, self.normalize = balance, normalize
        colour(background)  # raises RefusedError if it is not a colour
        self.background = background
        self.rotate, self.shift, self.zoom, self.flip = rotate, shift, zoom, flip
        self.augment, self.transforms = augment or [], list[nn.Module]()
        self.names: list[str] = []  # file names of the images given to predict.py

    def strata(self) -> Tensor | None:
        return self.splits["train"][1] if self.balance else None

    @property
    def facts(self) -> ClassifiedImageFacts:  # type: ignore[bad-override]
        """Properties of the data that are passed to the model as arguments."""
        targets = self.splits["train"][1]
        multilabel = targets.ndim == 2
        if multilabel:
            statistics: ImageStatistics = {"class_counts": targets.sum(0).tolist(), "samples": len(targets)}
        else:
            statistics = {"class_counts": torch.bincount(targets, minlength=len(self.class_names)).tolist()}
        if self.normalize and not self.trained:  # a trained model has its own
            statistics["pixel_mean"], statistics["pixel_std"] = self._pixels
        return {**super().facts, "multilabel": multilabel, "statistics": statistics}

    @cached_property
    def _pixels(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel of the training images, with values in [0, 1]."""
        images = self.splits["train"][0]
        sums = torch.zeros(2, images.shape[1], dtype=torch.float64)
        for index in torch.arange(len(images)).split(64):
            values = as_floats(images[index]).double()
            sums += torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
        mean, square = sums / (len(images) * math.prod(images.shape[2:]))
        std = (square - mean.square()).clamp(min=0).sqrt()
        return mean.tolist(), [each if each > 1e-6 else 1.0 for each in std.tolist()]  # a channel may be constant

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if self.augment and stage == "fit":
            self.transforms = [build(node) for node in self.augment]
            images = torch.zeros(2, *self.facts["input_shape"])
            made = apply_seeded(self.transforms, images, seed=0)
            if made.shape != images.shape:
                sizes = " to ".join(" x ".join(map(str, each.shape[1:])) for each in (images, made))
                raise RefusedError(f"datamodule.augment: changes the shape of images from {sizes}; expected the same")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Convert to floats, and augment training images, a whole batch at a time on its device."""
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        if self.trainer is None or not self.trainer.training:
            return batch
        images, *others = batch
        return self.augmented(images), *others

    def augmented(self, images: Tensor) -> Tensor:
        """Augment training images (B, C, H, W), by draws that are a function of (seed, epoch, position)."""
        generator = self.generator(images.device)
        if self.rotate or self.shift or self.zoom or self.flip:
            images = random_affine(images, self.rotate, self.shift, self.zoom, self.flip, generator)
        return apply_seeded(self.transforms, images, generator.initial_seed() ^ 1) if self.transforms else images

    # Input and output of predict.py

    def read_inputs(self, source: str, hparams: Mapping[str, Any]) -> list[str]:
        """Read an image, a folder or an .npy file, and resize images to the shape that the model was trained on.

        Returns one line for each file that can't be read. Raises RefusedError if none can.
        """
        memory: Any = getattr(self, "memory", "auto")  # of files
        self.names, images, unreadable = read_inputs(Path(source), hparams["input_shape"], self.background, memory)
        if not self.names:
            raise RefusedError(
                f"input={source}: no image could be read" + "".join(f"; {why}" for why in unreadable[:1])
            )
        self.inputs = (images,)
        return unreadable

    def predictions_name(self, source: str) -> str:
        return f"{Path(source).stem or 'images'}.csv"

    def write_predictions(self, outputs: list[Tensor], path: Path, hparams: Mapping[str, Any]) -> int:
        """Write one row per image: file name, class or labels, probability of each. Return the number of rows."""
        names, class_names, decision = self.names, hparams["class_names"], hparams.get("decision", {})
        probabilities = torch.cat(outputs).float().cpu()
        if hparams.get("multilabel"):
            decided = joined(decide_labels(probabilities, **decision), class_names, self.separator)
        else:
            decided = [class_names[k] for k in decide(probabilities, **decision).tolist()]
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["file", "class", *class_names])
            for name, label, row in zip(names, decided, probabilities.tolist(), strict=True):
                writer.writerow([name, label, *(f"{value:.6f}" for value in row)])
        return len(names)
