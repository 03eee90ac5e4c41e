"""Models, datamodules and callbacks, and the engine that runs them. `load_run` opens a finished run."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine.training.inference import LoadedRun


def load_run(folder: str | Path, checkpoint: str = "best") -> "LoadedRun":
    """Load the model and datamodule of a run: `model, datamodule = load_run("runs/first")`.

    `checkpoint` is `best`, `last` or a path. Raises RefusedError if the folder or the checkpoint does not exist.
    """
    from .engine.training import inference  # late: it imports torch, which --help does not need

    return inference.load_run(folder, checkpoint)
