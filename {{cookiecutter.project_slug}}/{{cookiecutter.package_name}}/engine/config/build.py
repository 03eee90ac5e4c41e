"""Build objects from a config. Every `_target_` of the project is built here."""

import copy
import functools
import re
from importlib import import_module
from typing import Any

from omegaconf import OmegaConf

from ..errors import RefusedError, own_frames, pip_command, refusal
from ..plain import check_plain
from .targets import Place, check_targets
from .tree import all_nodes


def build(node: Any, *args: Any, recursive: bool = True, place: Place | None = None, **kwargs: Any) -> Any:
    """Build `node`, a mapping with a `_target_`; its other keys, `args` and `kwargs` are the arguments.

    Arguments from the node arrive as plain dicts and lists, which a checkpoint can hold. With `recursive=False` a
    nested node stays a dict, for the object itself to build. Hydra's `instantiate` would interpolate strings a second
    time: one from an untrusted table or checkpoint could call a resolver.

    Raises RefusedError if the node holds anything but plain values, if a target is not allowed at `place` (default:
    Place.OWN for a part of a config, else Place.ANY, since the node may come from a checkpoint), if a package is not
    installed, or if the target's library rejects an argument. Errors in the project's own code propagate unchanged.
    """
    plain: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    key = str(node._get_full_key(None)) if node is not plain else ""
    check_plain(plain, key)
    check_targets(key, plain, (Place.ANY if node is plain else Place.OWN) if place is None else place)
    if place is None and (duplicates := plain.keys() & kwargs.keys()):  # the engine may override the config
        name = min(duplicates)
        raise refusal(f"{key}.{name}".lstrip("."), plain[name], "is given by the code or the data, not by the config")
    for _, each in all_nodes("", plain):
        import_target(each["_target_"])  # outside the try: an error in its module propagates
    try:
        return _build(plain, args, kwargs, recursive)
    except Exception as error:
        if isinstance(error, RefusedError) or any(frame.filename != __file__ for frame in own_frames(error)):
            raise
        raise refusal_of(plain, key, error) from error


def _build(value: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, recursive: bool = True) -> Any:
    """Return a copy of plain values in which each node with a `_target_` is replaced by its object."""
    if isinstance(value, list | tuple):
        return [_build(part) for part in value]
    if not isinstance(value, dict):
        return value
    parts = {name: _build(part) if recursive else copy.deepcopy(part) for name, part in value.items()}
    if "_target_" not in parts:
        return parts
    target = import_target(parts.pop("_target_"))
    partial = parts.pop("_partial_", False)
    arguments = {**parts, **(kwargs or {})}
    return functools.partial(target, *args, **arguments) if partial else target(*args, **arguments)


def import_target(target: str) -> Any:
    """Import the class or function that a `_target_` names."""
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)


def refusal_of(node: dict[str, Any], key: str, cause: BaseException) -> RefusedError:
    """Blame the argument whose name or value appears in the message of `cause`; else the whole node."""
    if isinstance(cause, ModuleNotFoundError):
        return RefusedError(f"{node['_target_']} needs a package that is not installed: {pip_command(cause)}")
    reason = " ".join(str(cause).split()) or type(cause).__name__
    words = set(re.findall(r"-?[\w.]*\w", reason))
    blamed = [name for name in node if f"{name}=" in reason] + [name for name in node if name in words]
    blamed += [name for name, value in node.items() if str(value) in words]
    if not blamed:
        return RefusedError(f"{key or node['_target_']}: {reason}", key)
    name = f"{key}.{blamed[0]}".lstrip(".")
    return RefusedError(f"{name}={node[blamed[0]]}: {reason}", name)
