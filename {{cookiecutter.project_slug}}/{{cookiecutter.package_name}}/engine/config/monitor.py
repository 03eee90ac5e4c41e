"""Check `monitor` and `mode`: the metric that selects the best checkpoint, and its direction. No torch.

A model declares the direction of each metric: `logged = {"val/loss": "min", "val/f1/*": "max", "val/bias": None}`, with
None for a metric that has none. `self.logged = …` may narrow it to the metrics logged for the data at hand.
"""

import ast
from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ..errors import RefusedError, refusal
from .modules import member
from .targets import allowed
from .tree import last_part

Logged = Mapping[str, str | None]  # "" if only the name is declared
CHECKPOINT_METRICS = ("epoch", "step")  # ModelCheckpoint can monitor them unlogged
AT_EPOCH_END = ("save_on_train_epoch_end", "check_on_train_epoch_end")  # else after validation
BETTER = {"min": "lower", "max": "higher"}


def logged_by(target: str) -> Logged | None:
    """Return the `logged` that a model class declares; None if it declares none or computes it.

    Raises RefusedError if a direction is neither "min", "max" nor None.
    """
    definition = member(allowed(target), "logged")
    try:
        written = ast.literal_eval(definition.node) if definition and isinstance(definition.node, ast.expr) else None
    except ValueError:  # computed
        return None
    if not isinstance(written, dict):
        return dict.fromkeys(map(str, written), "") if isinstance(written, list | tuple | set) else None
    for name, mode in written.items():
        if mode not in ("min", "max", None):
            raise RefusedError(f"{target}: logged[{name!r}] is {mode!r}; expected 'min', 'max' or None")
    return written


def direction(key: str, metric: str, logged: Logged, model: str) -> str | None:
    """Return the direction of `metric`, "min" or "max"; "" if it is not declared.

    Raises RefusedError if the model does not log the metric, or declares that it has no direction.
    """
    single = "*" not in metric and not metric.endswith("/")
    matches = [name for name in logged if fnmatchcase(metric, name)] if single else []
    if not matches:
        listed = f"{', '.join([*logged][:8])}{', …' if len(logged) > 8 else ''}"
        reason = "names no single metric" if "*" in metric else f"{last_part(model)} logs {listed} (its `logged`)"
        raise refusal(key, metric, reason, [name for name in logged if "*" not in name], metric)
    mode = logged[max(matches, key=lambda name: (name == metric, len(name)))]  # the most specific one
    if mode is None:
        reason = f"is better neither lower nor higher (`logged` of {last_part(model)}); expected another"
        raise refusal(key, metric, reason)
    return mode


def settle_mode(cfg: DictConfig) -> None:
    """Replace `mode: null` by the direction that the model declares; check_monitor refuses one that stays null."""
    if cfg.get("mode", "") is None:
        with suppress(RefusedError, OmegaConfBaseException, TypeError, AttributeError):  # reported by check_monitor
            target = cfg.model._target_
            cfg.mode = direction("monitor", cfg.monitor, logged_by(target) or {}, target) or None


def check_monitor(plain: dict[str, Any]) -> None:
    """Raises RefusedError if the model does not log the metric, or `mode` is not the direction of the metric."""
    target, metric = plain["model"]["_target_"], plain["monitor"]
    logged = logged_by(target)
    callbacks = {f"callbacks.{name}": node for name, node in (plain.get("callbacks") or {}).items()}
    _check_times(plain, callbacks)
    if logged is not None:
        check_monitors(plain, callbacks, logged, target)
    if plain["mode"] is None:
        declare = f"or {last_part(target)} declares it: logged = " + "{" + f"{metric!r}: 'min'" + "}"
        raise RefusedError(f"mode=null: has to be given for {metric}: mode=min or mode=max; {declare}", "mode")


def _check_times(plain: dict[str, Any], callbacks: Mapping[str, dict[str, Any]]) -> None:
    """Raises RefusedError if a callback monitors a train metric at validation, when it is not known yet."""
    trainer = plain["trainer"]
    every, within = trainer.get("check_val_every_n_epoch", 1), trainer.get("val_check_interval")
    after_each_epoch = every == 1 and within in (None, 1.0)
    for key, node in callbacks.items():
        at_end = [node[name] for name in AT_EPOCH_END if node.get(name) is not None] or [after_each_epoch]
        if str(node.get("monitor")).startswith("train/") and not at_end[0]:
            reason = "is not known yet at a validation, when this callback reads it; expected a metric of val/"
            raise refusal(f"{key}.monitor", node["monitor"], reason)


def check_monitors(switches: Any, callbacks: Mapping[str, Any], logged: Logged, model: str) -> None:
    """Raises RefusedError for the first `monitor` that is not logged, or has the wrong mode.

    Checks that of the switches, and of each callback, a node or an object, by its key.
    """
    monitors = {"": (switches["monitor"], switches["mode"])}
    for key, callback in callbacks.items():
        values = callback if isinstance(callback, dict) else vars(callback)
        metric, names = values.get("monitor"), {kind.__name__ for kind in type(callback).__mro__}
        if isinstance(metric, str) and not (metric in CHECKPOINT_METRICS and names & {"dict", "ModelCheckpoint"}):
            monitors[f"{key}."] = (metric, values.get("mode"))
    for key, (metric, mode) in monitors.items():
        way = direction(f"{key}monitor", metric, logged, model)
        if mode in BETTER:
            check_direction(f"{key}mode", mode, way, metric)


def check_direction(key: str, mode: str, way: str | None, metric: str) -> None:
    """Raises RefusedError if `mode` is not `way`, the direction that the model declares for a metric."""
    if way and mode != way:
        fix = "leave mode out, or null" if key == "mode" else f"{key}={way}"
        raise refusal(key, mode, f"{metric} is better the {BETTER[way]} it is; {fix}")
