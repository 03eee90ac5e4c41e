"""What a command and its config pass before the engine works: help, the check, refusals, the exit status. No torch."""

from .command import checked, front_door

__all__ = ["checked", "front_door"]
