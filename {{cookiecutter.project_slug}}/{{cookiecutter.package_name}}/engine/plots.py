"""Draw plots into a run folder and send them to the loggers."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pytorch_lightning import Trainer


def save_plot(trainer: "Trainer", name: str, draw: Callable[[Path], None]) -> None:
    """Call `draw` to write `plots/<name>.png` of the run, and send it to the loggers. A plot that fails is a warning.

    With several processes only rank 0 draws, from its share of the data.
    """
    if not trainer.is_global_zero:
        return
    file = Path(trainer.default_root_dir) / "plots" / f"{name}.png"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(file)
        _send(trainer, file)
    except Exception as error:
        warnings.warn(f"{file.as_posix()} could not be drawn: {type(error).__name__}: {error}", stacklevel=2)


def save_figure(figure: "Figure", path: Path, **options: Any) -> None:
    """Save a plot as `<run folder>/plots/<name>.png`, with the name of the run at its lower right."""
    run = path.parent.parent
    name = run.relative_to("runs").as_posix() if run.parts[:1] == ("runs",) else run.name
    figure.supxlabel(f"run {printable(name)}", x=0.995, ha="right", fontsize=8, color="0.4", parse_math=False)
    figure.savefig(path, dpi=120, **options)


def _send(trainer: "Trainer", file: Path) -> None:
    """Send a plot to the loggers that take images: TensorBoard, Weights & Biases, MLflow."""
    tag = f"{trainer.state.stage.value}/{file.stem}" if trainer.state.stage else file.stem
    loggers: list[Any] = trainer.loggers
    for logger in loggers:
        kind = type(logger).__name__
        if kind == "TensorBoardLogger":
            import numpy as np
            from PIL import Image

            with Image.open(file) as image:
                pixels = np.asarray(image.convert("RGB"))
            logger.experiment.add_image(tag, pixels, trainer.global_step, dataformats="HWC")
        elif kind == "WandbLogger":
            logger.log_image(tag, [str(file)])
        elif kind == "MLFlowLogger":
            logger.experiment.log_artifact(logger.run_id, str(file), "plots")
