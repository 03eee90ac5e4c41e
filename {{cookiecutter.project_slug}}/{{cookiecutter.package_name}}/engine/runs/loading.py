"""Load checkpoints that may be untrusted: no code runs, and no more memory is used than the file has bytes."""

import contextlib
import pickletools
import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from ..config.targets import check_targets
from ..errors import RefusedError, refusal
from ..plain import MAX_VALUES, PLAIN, check_plain, check_size

MAX_SHARED = 16  # times that tensors may claim the bytes of the file: tied weights share them
DATA = (*PLAIN, bytes, bytearray, complex, torch.device, torch.dtype, torch.layout)
CONTAINERS = (dict, OrderedDict, Counter, list, tuple, torch.Size, set, frozenset)
# Keys of the arguments that Lightning saves: of the model, of older models (two names), of the datamodule.
HYPER_PARAMETERS = ("hyper_parameters", "hparams", "module_arguments", "datamodule_hyper_parameters")


def broken_records(path: Path) -> str | None:
    """Return what is wrong with the zip records of a checkpoint, or None. Their contents are not checked."""
    if not path.is_file():
        return "there is no such file"
    if path.stat().st_size == 0:
        return "it is empty"
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            compressed = any(record.compress_type != zipfile.ZIP_STORED for record in records)  # torch never does
            # Nothing may follow the records, so that torch's reader finds the same ones.
            if compressed or archive.comment or sum(each.file_size for each in records) > path.stat().st_size:
                return "its records claim more than the file holds"
            broken = archive.testzip()
    except Exception as error:  # a crafted file can raise almost anything
        return f"it is cut off or overwritten ({error})"
    return f"its checksum is wrong at {broken}" if broken else None


# Globals in a pickle of tensors and plain values; the functions among them build only from what the file holds. torch
# also allows bytearray, torch.Tensor and quantised tensors, which take as much memory as the file asks for.
GLOBAL_PATTERN = re.compile(
    r"torch (\w+Storage|float\w+|bfloat16|u?int\d+|bool|complex\w+|Size|device)|torch\.storage (Untyped|Typed)Storage"
    r"|torch\._utils _rebuild_(tensor_v2|parameter)|collections (OrderedDict|Counter)|_codecs encode"
    r"|torch\.nn\.parameter Parameter|(__builtin__|builtins) (set|complex)"
)


def _check_claims(path: Path) -> None:
    """Raises UnpicklingError for a name that is not allowed; RefusedError if tensors claim more than the file has.

    The tensors are loaded onto the meta device, where their claimed size takes no memory.
    """
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        for opcode, argument, _ in pickletools.genops(archive.read(pickles[0]) if pickles else b""):
            name = str(argument)
            if "GLOBAL" in opcode.name and not GLOBAL_PATTERN.fullmatch(name) and name not in _safe_globals():
                raise UnpicklingError(name)
    claimed = 0
    content = torch.load(path, map_location="meta", weights_only=True)
    check_size(content, path.as_posix(), MAX_VALUES)
    for tensor in _tensors(content):
        reach = sum((size - 1) * abs(stride) for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        claimed += max(tensor.numel(), reach + tensor.storage_offset()) * tensor.element_size()
    if claimed > MAX_SHARED * path.stat().st_size:
        raise RefusedError(f"{path.as_posix()} is not loaded: its tensors claim {claimed:,} bytes, more than it holds")


def _safe_globals() -> set[str]:
    """Return the globals that the project has declared safe (torch.serialization.add_safe_globals)."""
    names = (
        each[1] if isinstance(each, tuple) else f"{each.__module__}.{each.__qualname__}"
        for each in torch.serialization.get_safe_globals()
    )
    return {" ".join(name.rsplit(".", 1)) for name in names}


def _tensors(content: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in dicts, lists, tuples and sets, at any depth."""
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, dict | list | tuple | set):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _tensors(part)


def _weights(state: dict[str, Any]) -> list[Any]:
    """Return the values of a state_dict without any module's `_extra_state`, which may be anything."""
    return [value for name, value in state.items() if not str(name).endswith("_extra_state")]


@contextlib.contextmanager
def room_for(state: dict[str, Any], path: Path) -> Iterator[None]:
    """Raises RefusedError if the modules built in this context are far larger than the weights `state` of `path`.

    Hyper-parameters can ask for any size. 0.5 GB is left for parts of a module that are not saved.
    """
    size, parts = 8 * sum(value.nbytes for value in _weights(state)) + 2**29, 100 * len(state) + 10_000
    set_state = torch.nn.Module.__setstate__

    def count(more: int) -> None:
        nonlocal size, parts
        size, parts = size - more, parts - 1
        if size < 0 or parts < 0:
            why = "its hyper-parameters ask for a model that is far larger than its weights"
            raise RefusedError(f"{path.as_posix()}: {why}")

    def count_registered(module: torch.nn.Module, name: str, part: Any) -> None:
        count(part.nbytes if isinstance(part, torch.Tensor) else 0)

    def count_copied(module: torch.nn.Module, state: dict[str, Any]) -> None:
        count(0)
        set_state(module, state)

    with contextlib.ExitStack() as stack:
        stack.enter_context(register_module_parameter_registration_hook(count_registered))
        stack.enter_context(register_module_buffer_registration_hook(count_registered))
        stack.enter_context(register_module_module_registration_hook(count_registered))
        # copy.deepcopy calls it, and a TransformerEncoder makes as many copies as its arguments ask for.
        stack.callback(setattr, torch.nn.Module, "__setstate__", set_state)
        torch.nn.Module.__setstate__ = count_copied  # type: ignore[bad-assignment, method-assign]
        stack.enter_context(CountNewTensors(count))
        yield


class CountNewTensors(TorchDispatchMode):
    """Call `count` with the bytes of each new tensor before it is allocated, as found on the meta device."""

    def __init__(self, count: Callable[[int], None]) -> None:
        super().__init__()
        self.count = count

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not any(each.alias_info for each in func._schema.returns):  # neither a view nor in place
            placed = any(each.name == "device" for each in func._schema.arguments)
            on_meta = {**kwargs, "device": "meta"} if placed else kwargs
            result: Any = None
            with contextlib.suppress(Exception):  # the size may depend on the values
                result = func(*tree_map_only(torch.Tensor, lambda each: each.to("meta"), args), **on_meta)
            self.count(sum(each.nbytes for each in tree_leaves(result) if isinstance(each, torch.Tensor)))
        return func(*args, **kwargs)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint on the CPU. None of its code runs, and it takes no more memory than the file has bytes.

    Raises RefusedError if it is damaged, holds more than tensors and plain values, is not one of Lightning's, or has
    hyper-parameters that a config may not have.
    """
    if reason := broken_records(path):
        raise RefusedError(f"{path.as_posix()} is not an intact checkpoint: {reason}")
    try:
        _check_claims(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise RefusedError(f"{path.as_posix()} is not loaded: it holds more than tensors and plain values") from error
    except RefusedError:
        raise
    except Exception as error:  # a crafted pickle can raise almost anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RefusedError(f"{path.as_posix()} can't be loaded: {reason}") from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in _weights(state)):
        raise RefusedError(f"{path.as_posix()} is not a Lightning checkpoint: it has no state_dict")
    if part := _more_than_data(content):
        raise RefusedError(f"{path.as_posix()} is not loaded: it holds more than tensors and plain values ({part})")
    try:
        for key in HYPER_PARAMETERS:
            check_hyper_parameters(key, content.get(key, {}))
    except RefusedError as error:
        raise RefusedError(f"{path.as_posix()}: {error}") from error
    return content


def _more_than_data(content: Any) -> str | None:
    """Return the first part of a loaded checkpoint that is not data, such as a function or a class, or None.

    `weights_only` lets some through. A tensor or dict with attributes of its own counts too: they could replace a
    method.
    """
    waiting, seen = [("", content)], set()
    while waiting:
        name, part = waiting.pop()
        kind = type(part)
        if kind in DATA:
            continue
        tensor = kind in (torch.Tensor, torch.nn.Parameter)
        attributes = dict(getattr(part, "__dict__", {}))
        metadata = attributes.pop("_metadata", {}) if kind is OrderedDict else {}  # set by Module.state_dict
        if attributes or not (tensor or kind in CONTAINERS) or (tensor and part._backward_hooks):
            return f"{kind.__name__} at {name}"
        if tensor or id(part) in seen:
            continue
        seen.add(id(part))
        pairs = part.items() if isinstance(part, dict) else enumerate(part)
        waiting.extend((f"{name}.{key}".lstrip("."), each) for key, each in pairs)
        waiting.extend((f"{name}.{key}".lstrip("."), key) for key in part if isinstance(part, dict))
        waiting.append((f"{name}._metadata", metadata))
    return None


def check_hyper_parameters(key: str, values: Any) -> None:
    """Raises RefusedError unless they are plain values and tensors, with no `_target_` that a config may not have."""
    if not isinstance(values, dict):
        raise refusal(key, "", f"is a {type(values).__name__}; expected a dict")
    for name in ("_instantiator", "_class_path"):
        if name in values:
            raise refusal(f"{key}.{name}", values[name], "not allowed: it names a callable that would build the model")
    check_plain(dict(values), key, also=(torch.Tensor, torch.nn.Parameter))
    check_targets(key, dict(values))
