"""Facts about this task for the shared tests: a user's files, an input, and outputs and loss of the model."""

from pathlib import Path
from typing import Any

import torch
from digit_files import write_own_data as write_own_data
from torch import Tensor
from torch.nn.functional import mse_loss

OWN_NAME = "images"  # the user's files in the README
OWN_DATAMODULE = "image_folder"
PLOTS = ("samples", "interpolations")  # besides the learning curves
FILES: tuple[str, ...] = ()  # in the run folder, besides those of every run
SMALL: tuple[str, ...] = ()  # overrides that make the model small: the default is
NO_SUCH_INPUT = "no such class"  # what predict.py answers to `input=none`


def write_inputs(folder: Path) -> str:
    """Return a value of predict.py's `input=`: the name of a class, no file."""
    return "3"


def outputs(model: Any, batch: Any) -> Tensor:
    """Model outputs (B, …), one per sample: the flow's velocity, or the GAN's images and their logits."""
    images, classes = batch
    noise = model.noise_of(torch.arange(len(images)))
    if hasattr(model, "network"):
        return model((images + noise) / 2, torch.full((len(images),), 0.5), classes)
    generated = model(noise, classes)
    return torch.cat([generated.flatten(1), model.discriminator(generated, classes)[:, None]], dim=1)


def loss(model: Any, batch: Any) -> Tensor:
    """A deterministic loss with a gradient for every parameter."""
    images, classes = batch
    noise = model.noise_of(torch.arange(len(images)))
    if hasattr(model, "network"):
        return model.loss(images, classes, noise, torch.linspace(0, 1, len(images)))
    generated = model(noise, classes)
    return mse_loss(generated, images) + 0.01 * model.discriminator_loss(images, classes, generated.detach())
