"""Refuse values that the Trainer and its callbacks accept, but fail on later or ignore silently. No torch.

Checks that need the built objects are in training/trial.py.
"""

import ast
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from ..errors import refusal
from .modules import PACKAGE, lineage
from .signatures import signature
from .targets import allowed
from .tree import all_nodes, last_part

# Minimum values; Lightning divides by the first three.
MIN_VALUES = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "log_every_n_steps": 0,
    "num_sanity_val_steps": -1,
    "min_epochs": 0,
    "min_steps": 0,
    "gradient_clip_val": 0,
}
WITHOUT_RUN = {
    "barebones": "leaves no run: it logs nothing and saves nothing",
    "fast_dev_run": "leaves no run; trainer=debug trains on a few batches",
}
SINGLE_PROCESS = ("auto", "single_device", None)
# A field that ModelCheckpoint fills in. Its width is limited: one of millions would exhaust memory.
FIELD_PATTERN = re.compile(r"\{[A-Za-z][\w/]*(:\d{0,2}(\.\d{1,2})?[a-z]?)?\}")


def check_limits(plain: dict[str, Any]) -> None:
    """Raises RefusedError, with the key, if a value of the config `plain` makes training impossible."""
    trainer, workers, cores = plain["trainer"], plain["datamodule"].get("num_workers"), os.cpu_count() or 1
    numbers = {name: value for name, value in trainer.items() if isinstance(value, int | float)}
    for name, minimum in MIN_VALUES.items():
        if numbers.get(name, minimum) < minimum:
            raise refusal(f"trainer.{name}", trainer[name], f"expected at least {minimum}")
    if numbers.get("val_check_interval") == 0:
        raise refusal("trainer.val_check_interval", 0, "expected more than 0")
    for unit in ("epochs", "steps"):
        maximum = numbers.get(f"max_{unit}", -1)
        minimum = numbers.get(f"min_{unit}", maximum)
        if -1 != maximum < minimum:
            raise refusal(f"trainer.min_{unit}", minimum, f"is more than trainer.max_{unit}={maximum}")
    for name in ("max_epochs", "max_steps", "limit_train_batches"):
        if numbers.get(name) == 0:
            raise refusal(f"trainer.{name}", 0, "nothing would be trained")
    for name, reason in WITHOUT_RUN.items():
        if trainer.get(name):
            raise refusal(f"trainer.{name}", trainer[name], reason)
    if trainer.get("gradient_clip_algorithm") is not None and trainer.get("gradient_clip_val") is None:
        reason = "clips nothing without trainer.gradient_clip_val"
        raise refusal("trainer.gradient_clip_algorithm", trainer["gradient_clip_algorithm"], reason)
    if isinstance(workers, int) and workers > max(32, 4 * cores):
        raise refusal("datamodule.num_workers", workers, f"are processes, and this machine has {cores} cores")
    _check_end(plain)
    _check_validated(plain["monitor"], numbers, trainer)
    _check_manual_steps(trainer, plain["model"]["_target_"])
    for name, node in (plain.get("callbacks") or {}).items():
        _check_checkpoint(f"callbacks.{name}", node, plain["monitor"])
    if {"-m", "--multirun"}.intersection(sys.argv) or HydraConfig.get().mode == RunMode.MULTIRUN:
        _check_sweep(trainer)


def _check_end(plain: dict[str, Any]) -> None:
    """Raises RefusedError if training would never end, or a schedule needs the number of steps and it is unknown."""
    trainer = plain["trainer"]
    if trainer.get("max_steps", -1) != -1:
        return
    epochs = trainer.get("max_epochs")
    if epochs is None and trainer.get("max_time") is None:
        reason = "a run has to end: give it, trainer.max_steps or trainer.max_time (Lightning would train 1,000 epochs)"
        raise refusal("trainer.max_epochs", trainer.get("max_epochs", "absent"), reason)
    if epochs not in (None, -1):
        return
    for key in schedules(plain["model"]):
        reason = f"the schedule {key} needs the number of steps: give it, or trainer.max_steps, or {key}=null"
        raise refusal("trainer.max_epochs", epochs, reason)


def schedules(model: Any) -> Iterator[str]:
    """Yield the keys of the nodes in a model's config, as plain values, whose target takes `total_steps`."""
    for key, node in all_nodes("model", model):
        takes = signature(allowed(node["_target_"]))
        if takes and "total_steps" in takes.parameters:
            yield key


def _check_validated(monitor: str, numbers: dict[str, Any], trainer: dict[str, Any]) -> None:
    """Raises RefusedError if `monitor` is a validation metric and validation never runs."""
    if not monitor.startswith("val/"):
        return
    epochs = numbers.get("max_epochs", -1)
    every = numbers.get("check_val_every_n_epoch", epochs)
    if numbers.get("limit_val_batches") == 0 and not trainer.get("overfit_batches"):
        raise refusal("trainer.limit_val_batches", 0, f"nothing is validated, so there is no monitor={monitor}")
    if -1 != epochs < every:
        reason = f"in {epochs} epochs nothing is validated, so there is no monitor={monitor}"
        raise refusal("trainer.check_val_every_n_epoch", every, reason)


def _check_manual_steps(trainer: dict[str, Any], target: str) -> None:
    """Raises RefusedError for arguments that Lightning refuses if the model turns automatic optimization off."""
    for name, defaults in {"gradient_clip_val": (None,), "accumulate_grad_batches": (None, 1)}.items():
        if trainer.get(name) in defaults:
            continue
        classes = (each for each in lineage(allowed(target)) if each.module.name.startswith(f"{PACKAGE}."))
        if any("self.automatic_optimization = False" in ast.unparse(each.node) for each in classes if each.node):
            reason = f"{last_part(target)} steps its optimizers itself, so it has to do this itself too"
            raise refusal(f"trainer.{name}", trainer[name], reason)


def _check_checkpoint(key: str, node: dict[str, Any], monitor: str) -> None:
    """Raises RefusedError if arguments of a ModelCheckpoint do not fit a run folder."""
    filename = node.get("filename")
    if node.get("save_last"):
        raise refusal(f"{key}.save_last", node["save_last"], "last.ckpt is always written: save_minutes=…")
    text = FIELD_PATTERN.sub("", str(filename))
    if {"{", "}"}.intersection(text):
        reason = "expected text with the names of metrics, such as {epoch} or {val/loss:.3f}"
        raise refusal(f"{key}.filename", filename, reason)
    if {"/", "\\"}.intersection(text):
        raise refusal(f"{key}.filename", filename, "expected a file name, without a folder")
    if filename in ("last", "previous"):
        raise refusal(f"{key}.filename", filename, "is the engine's own; expected another")
    if filename == "best" and node.get("save_top_k", 1) not in (0, 1):
        reason = f"best.ckpt would not be the best; with a filename of its own for each: {key}.filename=…"
        raise refusal(f"{key}.save_top_k", node["save_top_k"], reason)
    if filename == "best" and node.get("monitor") != monitor:
        reason = f"best.ckpt is the best {monitor}, which monitor=… changes; else {key}.filename=…"
        raise refusal(f"{key}.monitor", node.get("monitor", ""), reason)


def _check_sweep(trainer: dict[str, Any]) -> None:
    """Raises RefusedError if a run of a sweep needs several processes: they would outlive it, into the next run."""
    if str(HydraConfig.get().runtime.choices.get("hydra/launcher")).startswith("submitit"):
        return  # each run is a cluster job of its own
    one = "a sweep trains in one process: expected"
    strategy, devices, nodes = trainer.get("strategy"), trainer.get("devices"), trainer.get("num_nodes")
    if strategy not in SINGLE_PROCESS:
        name = strategy.get("_target_") if isinstance(strategy, dict) else strategy
        raise refusal("trainer.strategy", name, f"{one} auto, or one command a run")
    if devices not in (1, "1") and not (isinstance(devices, list) and len(devices) == 1):
        raise refusal("trainer.devices", devices, f"{one} 1, or one command a run")
    if nodes not in (1, None):
        raise refusal("trainer.num_nodes", nodes, f"{one} 1, or one command a run")
