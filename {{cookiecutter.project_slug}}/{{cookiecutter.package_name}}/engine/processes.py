"""The processes of one training: which are expected, and how they end together."""

import os
from typing import Any

from pytorch_lightning.plugins.environments import LightningEnvironment

from ..errors import RefusedError, refusal
from ..run_folder.folder import RANKS, log, rank


def check_processes(trainer: Any) -> None:
    """Raises RefusedError for processes that would lose what they measured, or wait for others that never come."""
    how = getattr(trainer.strategy, "_start_method", "popen")
    if how != "popen":
        why = f"processes that are started by {how} take their metrics with them when they end; expected ddp"
        raise refusal("trainer.strategy", f"ddp_{how}", why)
    if trainer.world_size <= rank():
        told = next(f"{key}={os.environ[key]}" for key in RANKS if os.environ.get(key) == str(rank()))
        raise RefusedError(f"{told}: this training has no process of that rank (trainer.devices, num_nodes); unset it")
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.num_nodes > 1 and isinstance(environment, LightningEnvironment):
        missing = [key for key in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if key not in os.environ]
        if missing:
            why = f"without torchrun or SLURM each node has to be told {', '.join(missing)} by the environment"
            raise refusal("trainer.num_nodes", trainer.num_nodes, why)


def say_who_is_awaited(trainer: Any) -> None:
    """One line where the training begins only once processes have come that this one does not start."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    own = trainer.num_devices if environment and not environment.creates_processes_externally else 1
    if environment and trainer.world_size > own:
        where = f"{environment.main_address}:{environment.main_port}"
        log.info(f"Waiting at {where} for the other {trainer.world_size - own} of {trainer.world_size} processes")
