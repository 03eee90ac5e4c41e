"""Base class for datamodules of images to generate: input and output of predict.py.

To use your own dataset, subclass ImageDataModule and write `load_images`; see digits.py and image_folder.py.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..engine import Draws, RefusedError, Seed, refusal
from ..engine.order import seed_of
from .labelled_images import LabelledImagesDataModule

SHEET_SIDE = 64  # pixels: a sheet shows smaller images enlarged to about this size
SHEET_COLUMNS = 100  # per class; the array holds all images
MAX_VALUES = 2**28  # of all images generated at once: 1 GB


class ImageDataModule(LabelledImagesDataModule):
    """Images of one or more classes, to generate others like them.

    predict.py generates `samples_per_class` images of each class that its input names, from noise that `sampling_seed`
    determines.
    """

    input_is_text = True  # predict.py input=3, input=0,1,2, input=all
    input_example = "all"

    def __init__(self, samples_per_class: Draws = 10, sampling_seed: Seed = 0, **options: Any) -> None:
        super().__init__(**options)
        self.samples_per_class, self.sampling_seed = samples_per_class, sampling_seed

    def load_splits(self) -> dict[str, tuple[Tensor, ...]]:
        splits = super().load_splits()
        sizes = [len(images) for images, _ in splits.values()]
        if (fewest := min(size for size in sizes if size or self.test_fraction < 1)) < 2:
            raise RefusedError(f"datamodule: {sum(sizes)} images leave {fewest} in a split; expected 2 or more")
        return splits

    # Input and output of predict.py

    def read_inputs(self, source: str, hparams: Mapping[str, Any]) -> list[str]:
        """Parse class names separated by commas, or `all`. Raises RefusedError if a class is unknown."""
        names = hparams["class_names"]
        chosen = [word.strip(" '\"") for word in source.strip("[] ").split(",")]
        chosen = names if chosen == ["all"] else list(dict.fromkeys(chosen))
        for word in chosen:
            if word not in names:
                some = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
                raise refusal("input", word, f"no such class; expected all, or some of {some}", names, word)
        values = len(chosen) * math.prod(hparams["input_shape"])
        if values * self.samples_per_class > MAX_VALUES:
            why = f"images of {len(chosen)} classes take {values * self.samples_per_class / 2**28:,.0f} GB"
            fits = f"expected at most {MAX_VALUES // values:,} at once, with a new sampling_seed for more"
            raise refusal("datamodule.samples_per_class", self.samples_per_class, f"{why}; {fits}")
        classes = torch.tensor([names.index(word) for word in chosen])
        # The n-th image of every class starts from the same noise, so within a column only the class differs.
        seeds = torch.tensor([seed_of(self.sampling_seed, number) for number in range(self.samples_per_class)])
        self.inputs = (classes.repeat_interleave(len(seeds)), seeds.repeat(len(classes)))
        return []

    def predictions_name(self, source: str) -> str:
        name = "".join(letter if letter.isalnum() else "_" for letter in source).strip("_")
        return f"{name[:60] or 'samples'}.png"

    def written(self, path: Path) -> list[Path]:
        return [path.with_suffix(".npy"), path.with_suffix(".png") if path.suffix == ".npy" else path]

    def write_predictions(self, outputs: list[Tensor], path: Path, hparams: Mapping[str, Any]) -> int:
        """Write a sheet with one class per row to `path`, and all images (N, C, H, W) next to it as .npy.

        The sheet shows the first SHEET_COLUMNS of each class. Returns the number of images.
        """
        from PIL import Image

        images = torch.cat(outputs).float().cpu()
        np.save(path.with_suffix(".npy"), images.numpy())
        columns = min(self.samples_per_class, SHEET_COLUMNS)
        shown = images.unflatten(0, (-1, self.samples_per_class))[:, :columns].flatten(0, 1)
        pixels = (sheet(shown, columns) * 255).round().byte().squeeze(-1).numpy()
        Image.fromarray(pixels).save(path.with_suffix(".png") if path.suffix == ".npy" else path, "PNG")
        return len(images)


def sheet(images: Tensor, columns: int) -> Tensor:
    """Arrange images (N, C, H, W) in [0, 1] in rows of `columns` with white gaps: (rows, columns, C).

    Small images are enlarged by repeating pixels.
    """
    zoom = max(1, SHEET_SIDE // images.shape[-1])
    tiles = images.clamp(0, 1).repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)
    tiles = torch.nn.functional.pad(tiles, (2, 2, 2, 2), value=1.0)
    missing = -len(tiles) % columns
    tiles = torch.cat([tiles, torch.ones(missing, *tiles.shape[1:])]).unflatten(0, (-1, columns))
    return tiles.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
