"""Base class for datamodules of labelled images in memory: splits and facts. images.py adds the rest for this task."""

from typing import Any, TypedDict

from pydantic import PositiveInt
from torch import Tensor

from ..engine import Above0Below1, From0Below1, Seed
from .base import TensorDataModule
from .image_splits import LabelledImages, divide
from .splits import check_split


class ImageFacts(TypedDict):
    """The data's properties that are passed to the model."""

    input_shape: list[int]  # (C, H, W)
    class_names: list[str]


class LabelledImagesDataModule(TensorDataModule):
    """Images and their classes, in stratified train, validation and test splits that `split_seed` determines.

    Batches are `(images (B, C, H, W), classes (B,))`.
    """

    sample_name = "images"

    def __init__(
        self,
        val_fraction: Above0Below1 = 0.1,
        test_fraction: From0Below1 = 0.2,
        split_seed: Seed = 0,
        folds: PositiveInt | None = None,
        fold: PositiveInt | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_split(val_fraction, test_fraction, folds, fold)
        self.val_fraction, self.test_fraction, self.split_seed = val_fraction, test_fraction, split_seed
        self.folds, self.fold = folds, fold
        self.class_names: list[str] = []

    def load_images(self) -> LabelledImages:
        """Load all images. Raises RefusedError if they can't be read."""
        raise NotImplementedError(f"{type(self).__name__} must define load_images()")

    def load_splits(self) -> dict[str, tuple[Tensor, ...]]:
        labelled = self.load_images()
        self.class_names = labelled.class_names
        parts = divide(labelled, self.val_fraction, self.test_fraction, self.split_seed, self.folds, self.fold)
        self.ids = {name: [labelled.ids[number] for number in index.tolist()] for name, index in parts.items()}
        return {name: (labelled.images[index], labelled.targets[index]) for name, index in parts.items()}

    @property
    def facts(self) -> ImageFacts:
        """Properties of the data that are passed to the model as arguments."""
        return {"input_shape": list(self.splits["train"][0].shape[1:]), "class_names": self.class_names}

    def describe(self) -> str:
        """Summarise the data in one line for the log."""
        return f"{len(self.class_names)} classes, images: {self.split_sizes()}"
