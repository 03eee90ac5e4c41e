"""Public API of the engine for research code (data may also import engine.order). Does not import torch."""

from .arguments import (
    Above0Below1,
    BatchSize,
    Config,
    Count,
    Draws,
    From0Below1,
    Given,
    Length,
    OptimizerConfig,
    Pixels,
    SchedulerConfig,
    Seed,
    Side,
    Stages,
    Workers,
)
from .config.build import build
from .config.targets import target
from .errors import FailedError, RefusedError, printable, refusal
from .files import new_file
from .logs import log, quiet
from .plots import save_figure, save_plot

__all__ = [
    "Above0Below1", "BatchSize", "Config", "Count", "Draws", "FailedError", "From0Below1", "Given", "Length",
    "OptimizerConfig", "Pixels", "RefusedError", "SchedulerConfig", "Seed", "Side", "Stages", "Workers", "build", "log",
    "new_file", "printable", "quiet", "refusal", "save_figure", "save_plot", "target",
]  # fmt: skip
