"""Build the objects that a config names. Every `_target_` of a project passes through here."""

import copy
import functools
import re
from importlib import import_module
from typing import Any

from omegaconf import OmegaConf

from ..errors import RefusedError, own_frames, pip_command, refusal
from ..plain import plain_values
from .targets import Place, check_targets
from .tree import all_nodes


def build(node: Any, *args: Any, recursive: bool = True, place: Place | None = None, **kwargs: Any) -> Any:
    """Build `node`, a mapping with a `_target_`; its other keys, `args` and `kwargs` are the arguments.

    Arguments arrive as plain dicts and lists, so that they can be saved in a checkpoint. With `recursive=False` a
    nested `_target_` stays a dict, for the object itself to build. `args` and `kwargs` are handed on as they are.

    It is not Hydra's `instantiate`, which would interpolate the texts of the node and of `kwargs` once more: a text of
    a stranger's table or checkpoint could then call a resolver.

    Raises RefusedError where the node holds more than plain values, where a target may not be named at its `place` (by
    default the user's own where the node is a part of a config, else any: it may come out of a checkpoint), where a
    package is not installed, or where the library that the target comes from refuses an argument. An error in this
    project's own code is raised as it is.
    """
    plain: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    key = str(node._get_full_key(None)) if node is not plain else ""
    plain_values(plain, key)
    check_targets(key, plain, (Place.ANY if node is plain else Place.OWN) if place is None else place)
    if place is None and (twice := plain.keys() & kwargs.keys()):  # in research code; the engine's own words come last
        name = min(twice)
        raise refusal(f"{key}.{name}".lstrip("."), plain[name], "is given by the code or the data, not by the config")
    for _, each in all_nodes("", plain):
        imported(each["_target_"])  # an error in its module is then raised as it is
    try:
        return _made(plain, args, kwargs, recursive)
    except Exception as error:
        if isinstance(error, RefusedError) or any(frame.filename != __file__ for frame in own_frames(error)):
            raise
        raise _refused(plain, key, error) from error


def _made(value: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, recursive: bool = True) -> Any:
    """The object that a checked node describes; of other plain values a copy, with an object for each node in them."""
    if isinstance(value, list | tuple):
        return [_made(part) for part in value]
    if not isinstance(value, dict):
        return value
    parts = {name: _made(part) if recursive else copy.deepcopy(part) for name, part in value.items()}
    if "_target_" not in parts:
        return parts
    target = imported(parts.pop("_target_"))
    partial = parts.pop("_partial_", False)
    arguments = {**parts, **(kwargs or {})}
    return functools.partial(target, *args, **arguments) if partial else target(*args, **arguments)


def imported(target: str) -> Any:
    """The class or function that a `_target_` names."""
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)


def _refused(node: dict[str, Any], key: str, cause: BaseException) -> RefusedError:
    """The argument that the target's own message speaks of, by name or by value; else the whole node."""
    if isinstance(cause, ModuleNotFoundError):
        return RefusedError(f"{node['_target_']} needs a package that is not installed: {pip_command(cause)}")
    reason = " ".join(str(cause).split()) or type(cause).__name__
    words = set(re.findall(r"-?[\w.]*\w", reason))
    spoken = [name for name in node if f"{name}=" in reason] + [name for name in node if name in words]
    spoken += [name for name, value in node.items() if str(value) in words]
    if not spoken:
        return RefusedError(f"{key or node['_target_']}: {reason}", key)
    name = f"{key}.{spoken[0]}".lstrip(".")
    return RefusedError(f"{name}={node[spoken[0]]}: {reason}", name)
