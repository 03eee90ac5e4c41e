"""Refuse values that the Trainer accepts but fails on later, or ignores silently. No torch.

Checks that need the built objects are in training/trial.py.
"""

import os
import sys
from collections.abc import Iterator
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from ..errors import refusal
from .signatures import signature
from .targets import allowed
from .tree import all_nodes

# Minimum values; Lightning divides by the first three.
LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "log_every_n_steps": 0,
    "num_sanity_val_steps": -1,
    "min_epochs": 0,
    "min_steps": 0,
    "gradient_clip_val": 0,
}
ONE_PROCESS = ("auto", "single_device", None)


def check_limits(plain: dict[str, Any]) -> None:
    """Raises RefusedError, with the key, if a value makes training impossible. `plain` is the config."""
    trainer = plain["trainer"]
    for name, least in LEAST.items():
        if _number(trainer.get(name)) and trainer[name] < least:
            raise refusal(f"trainer.{name}", trainer[name], f"expected at least {least}")
    if _number(trainer.get("val_check_interval")) and trainer["val_check_interval"] == 0:
        raise refusal("trainer.val_check_interval", 0, "expected more than 0")
    for what in ("epochs", "steps"):
        least, most = trainer.get(f"min_{what}"), trainer.get(f"max_{what}")
        if _number(least) and _number(most) and -1 != most < least:
            raise refusal(f"trainer.min_{what}", least, f"is more than trainer.max_{what}={most}")
    if trainer.get("gradient_clip_algorithm") is not None and trainer.get("gradient_clip_val") is None:
        why = "clips nothing without trainer.gradient_clip_val"
        raise refusal("trainer.gradient_clip_algorithm", trainer["gradient_clip_algorithm"], why)
    if trainer.get("barebones"):
        raise refusal("trainer.barebones", True, "leaves no run: it logs nothing and saves nothing")
    workers, cores = plain["datamodule"].get("num_workers"), os.cpu_count() or 1
    if _number(workers) and workers > max(32, 4 * cores):
        raise refusal("datamodule.num_workers", workers, f"are processes, and this machine has {cores} cores")
    _check_end(plain)
    _check_validated(plain)
    if {"-m", "--multirun"}.intersection(sys.argv) or HydraConfig.get().mode == RunMode.MULTIRUN:
        _check_sweep(trainer)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_end(plain: dict[str, Any]) -> None:
    """Raises RefusedError if training would never end, or a schedule needs the number of steps and it is unknown."""
    trainer = plain["trainer"]
    if trainer.get("max_steps", -1) != -1:
        return
    epochs = trainer.get("max_epochs")
    if epochs is None and trainer.get("max_time") is None:
        why = "a run has to end: give this, trainer.max_steps or trainer.max_time (Lightning would train 1,000 epochs)"
        raise refusal("trainer.max_epochs", trainer.get("max_epochs", "absent"), why)
    if epochs not in (None, -1):
        return
    for key in schedules(plain["model"]):
        why = f"the schedule {key} needs the number of steps; expected one here or in trainer.max_steps, or {key}=null"
        raise refusal("trainer.max_epochs", epochs, why)


def schedules(model: Any) -> Iterator[str]:
    """Yield the keys of the nodes in a model's config, as plain values, whose target takes `total_steps`."""
    for key, node in all_nodes("model", model):
        takes = signature(allowed(node["_target_"]))
        if takes and "total_steps" in takes.parameters:
            yield key


def _check_validated(plain: dict[str, Any]) -> None:
    """Raises RefusedError if `monitor` is a validation metric and validation never runs."""
    trainer, monitor = plain["trainer"], str(plain["monitor"])
    if not monitor.startswith("val/"):
        return
    every, epochs = trainer.get("check_val_every_n_epoch"), trainer.get("max_epochs")
    if trainer.get("limit_val_batches") == 0 and not trainer.get("overfit_batches"):
        raise refusal("trainer.limit_val_batches", 0, f"nothing is validated, so there is no monitor={monitor}")
    if _number(every) and _number(epochs) and -1 != epochs < every:
        why = f"in {epochs} epochs nothing is validated, so there is no monitor={monitor}"
        raise refusal("trainer.check_val_every_n_epoch", every, why)


def _check_sweep(trainer: dict[str, Any]) -> None:
    """Raises RefusedError if a run of a sweep needs several processes: they would outlive it, into the next run."""
    if str(HydraConfig.get().runtime.choices.get("hydra/launcher")).startswith("submitit"):
        return  # each run is a cluster job of its own
    one = "a sweep trains in one process: expected"
    strategy, devices, nodes = trainer.get("strategy"), trainer.get("devices"), trainer.get("num_nodes")
    if strategy not in ONE_PROCESS:
        name = strategy.get("_target_") if isinstance(strategy, dict) else strategy
        raise refusal("trainer.strategy", name, f"{one} auto, or one command a run")
    if devices not in (1, "1") and not (isinstance(devices, list) and len(devices) == 1):
        raise refusal("trainer.devices", devices, f"{one} 1, or one command a run")
    if nodes not in (1, None):
        raise refusal("trainer.num_nodes", nodes, f"{one} 1, or one command a run")
