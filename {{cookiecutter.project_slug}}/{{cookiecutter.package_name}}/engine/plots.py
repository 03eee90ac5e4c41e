"""Draw plots into a run folder and send them to the loggers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_warn


def picture(trainer: Trainer, name: str, draw: Callable[[Path], None]) -> None:
    """Have `draw` write `pictures/<name>.png` of the run, and give it to the loggers. What goes wrong is a warning.

    With several processes the first one draws, from its share of the data.
    """
    if not trainer.is_global_zero:
        return
    file = Path(trainer.default_root_dir) / "pictures" / f"{name}.png"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(file)
        show(trainer, file)
    except Exception as error:
        rank_zero_warn(f"{file.as_posix()} could not be drawn: {type(error).__name__}: {error}")


def show(trainer: Trainer, file: Path) -> None:
    """Give a picture to the loggers that take pictures: TensorBoard, Weights & Biases, MLflow."""
    from PIL import Image

    tag = f"{trainer.state.stage.value}/{file.stem}" if trainer.state.stage else file.stem
    loggers: list[Any] = trainer.loggers
    for logger in loggers:
        kind = type(logger).__name__
        if kind == "TensorBoardLogger":
            with Image.open(file) as image:
                pixels = torch.frombuffer(bytearray(image.convert("RGB").tobytes()), dtype=torch.uint8)
                pixels = pixels.reshape(image.height, image.width, 3)
            logger.experiment.add_image(tag, pixels, trainer.global_step, dataformats="HWC")
        elif kind == "WandbLogger":
            logger.log_image(tag, [str(file)])
        elif kind == "MLFlowLogger":
            logger.experiment.log_artifact(logger.run_id, str(file), "pictures")
