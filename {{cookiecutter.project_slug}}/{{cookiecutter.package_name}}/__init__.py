"""Models, datamodules and callbacks; the engine that runs them; and finished runs, opened by `load_run`."""

from .engine.load import load_run

__all__ = ["load_run"]
