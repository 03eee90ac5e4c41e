"""Walk a config: its leaves, its nodes (mappings with a `_target_`), its references."""

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import refusal
from ..plain import MAX_CONFIG, MAX_DEPTH

REFERENCE_PATTERN = re.compile(r"\$\{([\w.\[\]]+)\}")


def check_references(values: dict[str, Any]) -> None:
    """Raises RefusedError, with the key, if references `${key}` are chained too deep or expand to too long a text.

    `values` are the leaves of the config by key (`a.b[0]`). A reference counts as everything that it expands to.
    """
    measured: dict[str, tuple[int, int]] = {}  # by key: characters, and depth of references

    def measure(key: str, above: int = 0) -> tuple[int, int]:
        if key not in measured:
            measured[key] = (0, 0)  # OmegaConf refuses a reference to itself
            texts = [str(values[name]) for name in values if f"{name}.".startswith((f"{key}.", f"{key}["))]
            names = [name for text in texts for name in REFERENCE_PATTERN.findall(text)]
            behind = [measure(name, above + 1) for name in names] if above < MAX_DEPTH else [(0, MAX_DEPTH)]
            size = sum(map(len, texts)) + sum(size for size, _ in behind)
            measured[key] = (size, 1 + max((depth for _, depth in behind), default=0))
        if measured[key][1] > MAX_DEPTH:
            raise refusal(key, "", f"a chain of more than {MAX_DEPTH} references")
        if measured[key][0] > MAX_CONFIG:
            raise refusal(key, "", f"its references make a text of more than {MAX_CONFIG / 2**20:.0f} MB")
        return measured[key]

    for key in [key for key, value in values.items() if "${" in str(value)]:
        measure(key)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Resolve a config to plain values. Raises RefusedError if a value is missing or an interpolation fails."""
    written: Any = OmegaConf.to_container(cfg)
    values = dict(leaves(written))
    for key in (key for key, value in values.items() if value == "???"):
        raise refusal(key, "???", f"has to be given: {key}=…")
    check_references(values)
    try:
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raw = values.get(str(error.full_key), "")
        wanted = REFERENCE_PATTERN.findall(str(raw))
        reason = str(error).splitlines()[0]
        raise refusal(str(error.full_key), raw, reason, values.keys() - {*wanted}, *wanted[:1]) from error
    return {str(key): value for key, value in plain.items()}


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield key and value of each leaf of nested dicts and lists, with keys as OmegaConf writes them (`a.b[0]`)."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from leaves(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value:
        for number, part in enumerate(value):
            yield from leaves(part, f"{key}[{number}]")
    else:
        yield key, value


def nodes(key: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the outermost nodes of plain values: the value itself, or those in its lists and dicts."""
    if isinstance(value, dict) and "_target_" in value:
        yield key, value
    elif isinstance(value, dict | list | tuple):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from nodes(f"{key}.{name}", part)


def all_nodes(key: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the nodes of plain values at any depth."""
    for outer, node in nodes(key, value):
        yield outer, node
        for name, part in node.items():
            yield from all_nodes(f"{outer}.{name}", part)


def last_part(target: str) -> str:
    """Return the name at the end of a dotted one."""
    return target.rpartition(".")[2]
