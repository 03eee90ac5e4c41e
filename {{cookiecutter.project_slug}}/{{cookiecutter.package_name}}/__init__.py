"""Models, datamodules and callbacks; the engine that runs them; and finished runs, opened by `load_run`."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine.use import LoadedRun

# What a config may name as a `_target_`, beside the classes and functions of this package: the classes of these. Add a
# package that your configs need, as narrow as you can: a config that came from elsewhere can build any class in it.
# torch.utils.data is none of them: among its datapipes are some that unpickle what they find.
ALLOWED_TARGETS = (
    "datetime.timedelta",
    "lightning_fabric.plugins",
    "torch.nn",
    "torch.optim",
    "torchmetrics",
    "pytorch_lightning.Trainer",
    "pytorch_lightning.callbacks",
    "pytorch_lightning.loggers",
    "pytorch_lightning.plugins",
    "pytorch_lightning.profilers",
    "pytorch_lightning.strategies",
)


def load_run(folder: str | Path, checkpoint: str = "best") -> "LoadedRun":
    """Model and datamodule of a run, as in `model, datamodule = load_run("runs/first")`.

    `checkpoint` is `best`, `last` or a path. Raises RefusedError where folder or checkpoint is not there.
    """
    from .engine import use  # torch is imported where it is needed, so that --help comes at once

    return use.load_run(folder, checkpoint)
