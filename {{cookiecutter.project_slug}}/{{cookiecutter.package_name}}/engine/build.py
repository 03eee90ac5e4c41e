"""Build the objects that a config names. Every `_target_` of the project passes through here."""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from .errors import RefusedError, pip_command


def build(node: Any, *args: Any, recursive: bool = True, **kwargs: Any) -> Any:
    """Build `node`, a mapping with a `_target_`; its other keys, `args` and `kwargs` are the arguments.

    Arguments arrive as plain dicts and lists, so that they can be saved in a checkpoint. With `recursive=False` a
    nested `_target_` stays a dict, for the object itself to build.

    Raises RefusedError where a package is not installed, or where the target can't be built.
    """
    try:
        return instantiate(node, *args, _convert_="all", _recursive_=recursive, **kwargs)
    except (InstantiationException, ImportError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, RefusedError):
            raise cause from error
        raise RefusedError(_reason(node, cause)) from error


def _reason(node: Any, cause: BaseException) -> str:
    target = node.get("_target_", "?")
    if isinstance(cause, ModuleNotFoundError):
        return f"{target} needs a package that is not installed: {pip_command(cause)}"
    return f"{target} can't be built: {' '.join(str(cause).split())}"
