"""Facts about this task for the shared tests: a user's files, an input, and outputs and loss of the model."""

from pathlib import Path
from typing import Any

from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn.functional import mse_loss

from {{ cookiecutter.package_name }}.datamodules.resize import downscale

OWN_NAME = "images"  # the user's files in the README
OWN_DATAMODULE = "image_folder"
PLOTS = ("enlarged",)  # besides the learning curves
FILES: tuple[str, ...] = ()  # in the run folder, besides those of every run
SMALL = ("model.network.width=16", "datamodule.patch=24")  # overrides that make the model small
NO_SUCH_INPUT = "no such file"  # what predict.py answers to `input=none`; empty if any words are valid input
PIXELS = 12  # side of the images given to the model


def photograph(number: int, left: int, top: int, width: int, height: int) -> Image.Image:
    """Crop one of scikit-learn's two photographs."""
    photographs: Any = load_sample_images()
    return Image.fromarray(photographs.images[number]).crop((left, top, left + width, top + height))


def write_own_data(path: Path) -> None:
    """Write crops of photographs as PNG and JPEG in several sizes, also in a subfolder; one broken, one too small."""
    (path / "more").mkdir(parents=True)
    photograph(0, 0, 0, 420, 320).save(path / "temple.png")
    photograph(0, 300, 100, 320, 321).save(path / "more" / "roof.jpg", quality=95)
    photograph(1, 100, 50, 333, 350).save(path / "flower.png")
    photograph(1, 300, 200, 40, 30).save(path / "small.png")
    (path / "broken.png").write_bytes(b"\x89PNG is not all it takes")


def write_inputs(folder: Path) -> str:
    """Write an input for predict.py into `folder`; return the value of `input=`."""
    photograph(1, 300, 200, 41, 30).save(folder / "petal.png")
    return "petal.png"


def outputs(model: Any, batch: Any) -> Tensor:
    """Model outputs (B, …), one per sample."""
    return model(downscale(batch[0][..., :PIXELS, :PIXELS], model.scale))


def loss(model: Any, batch: Any) -> Tensor:
    """A deterministic loss with a gradient for every parameter."""
    return mse_loss(outputs(model, batch), batch[0][..., :PIXELS, :PIXELS])
