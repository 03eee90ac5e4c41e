"""Models, datamodules and callbacks; the engine that runs them; and finished runs, opened by `load_run`."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine.training.inference import LoadedRun


def load_run(folder: str | Path, checkpoint: str = "best") -> "LoadedRun":
    """Model and datamodule of a run, as in `model, datamodule = load_run("runs/first")`.

    `checkpoint` is `best`, `last` or a path. Raises RefusedError where folder or checkpoint is not there.
    """
    from .engine.training import inference  # brings in torch, which --help need not wait for

    return inference.load_run(folder, checkpoint)
