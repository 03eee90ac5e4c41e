"""What the tests need to know of this task: files as a user would bring them, and what a model gives for a batch."""

from pathlib import Path
from typing import Any

from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn.functional import mse_loss

from {{ cookiecutter.package_name }}.datamodules.resize import downscale

OWN_NAME = "images"  # of the user's files in the README
OWN_DATAMODULE = "image_folder"
PLOTS = ("enlarged",)  # beside the learning curves
FILES: tuple[str, ...] = ()  # in the run folder beside those of every run
SMALL = ("model.network.width=16", "datamodule.patch=24")  # what makes the model of a test small
NO_SUCH_INPUT = "no such file"  # what `input=none` of predict.py is told; empty where any words are one
PIXELS = 12  # a side of what a model is tried with


def photograph(number: int, left: int, top: int, width: int, height: int) -> Image.Image:
    """A part of one of scikit-learn's two."""
    photographs: Any = load_sample_images()
    return Image.fromarray(photographs.images[number]).crop((left, top, left + width, top + height))


def write_own_data(path: Path) -> None:
    """Parts of real photographs of several sizes as PNG and JPEG, in a folder within too; one broken, one too small."""
    (path / "more").mkdir(parents=True)
    photograph(0, 0, 0, 420, 320).save(path / "temple.png")
    photograph(0, 300, 100, 320, 321).save(path / "more" / "roof.jpg", quality=95)
    photograph(1, 100, 50, 333, 350).save(path / "flower.png")
    photograph(1, 300, 200, 40, 30).save(path / "small.png")
    (path / "broken.png").write_bytes(b"\x89PNG is not all it takes")


def write_inputs(folder: Path) -> str:
    """What `input=` of predict.py may say, of files in `folder`."""
    photograph(1, 300, 200, 41, 30).save(folder / "petal.png")
    return "petal.png"


def outputs(model: Any, batch: Any) -> Tensor:
    """Of each sample (B, …)."""
    return model(downscale(batch[0][..., :PIXELS, :PIXELS], model.scale))


def loss(model: Any, batch: Any) -> Tensor:
    """A loss that every parameter has a part in, the same for the same weights."""
    return mse_loss(outputs(model, batch), batch[0][..., :PIXELS, :PIXELS])
