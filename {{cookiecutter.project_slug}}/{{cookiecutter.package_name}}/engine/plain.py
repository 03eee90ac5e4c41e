"""Plain values (text, numbers, lists, dicts): check them, and read YAML, JSON and text within limits."""

import contextlib
import json
import stat
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import yaml

from .errors import RefusedError, refusal

MAX_CONFIG = 2**20  # bytes; the largest config that a starter writes has 4 kB
MAX_JSON = 2**24  # bytes; provenance.json grows by 1 kB each time a run is resumed
MAX_TABLE = 2**26  # bytes of metrics.csv: half a million rows of ten metrics
MAX_SCALAR = 2**16  # characters of one value in YAML
MAX_NODES = 20_000  # keys and values of a config, aliases expanded; a starter's has 200
MAX_VALUES = 2**23  # of hyper-parameters, which may hold a vocabulary: the largest has three million
MAX_DEPTH = 50  # of containers within containers; a starter's config has 4


def read_text(path: Path, limit: int) -> str:
    """Read UTF-8 text. Raises RefusedError if `path` is not a regular file or has more than `limit` bytes."""
    name = path.as_posix()
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a FIFO would block, a device never ends
            raise RefusedError(f"{name}: is not a regular file")
        with path.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise RefusedError(f"{name}: is larger than {limit / 2**20:.0f} MB")
        return content.decode()
    except OSError as error:
        raise RefusedError(f"{name}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RefusedError(f"{name}: is not UTF-8 text ({error.reason} at byte {error.start})") from error


def yaml_text(path: Path) -> str:
    """Read the text of a YAML file. Raises RefusedError if its size, its depth or its expanded aliases exceed a limit.

    Syntax errors are left to the parser.
    """
    text = read_text(path, MAX_CONFIG)
    with contextlib.suppress(yaml.YAMLError):
        _check_events(text, path.as_posix())
    return text


def read_yaml(path: Path) -> Any:
    """Read a YAML file. Raises RefusedError as `yaml_text` does, and if it is not YAML."""
    try:
        return yaml.safe_load(yaml_text(path))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an invalid date, a number of 10,000 digits
        raise RefusedError(f"{path.as_posix()}: can't be read: {' '.join(str(error).split())}") from error


def _check_events(text: str, name: str) -> None:
    """Count the nodes without building them. An alias counts as its expansion, a recursive one as too many."""
    sizes: dict[str, tuple[int, int]] = {}  # nodes and depth behind each anchor
    opened: list[tuple[str | None, int, int]] = [(None, 0, 0)]  # anchor, nodes and depth of each open collection
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        where = f"{name}:{event.start_mark.line + 1}" if event.start_mark else name
        closed: tuple[str | None, int, int] | None = None
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, 1, 0))
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = opened.pop()
        elif isinstance(event, yaml.AliasEvent):
            closed = (None, *sizes.get(str(event.anchor), (MAX_NODES + 1, 0)))
        elif isinstance(event, yaml.ScalarEvent):
            closed = (event.anchor, 1, 0)
            if len(event.value) > MAX_SCALAR:
                raise RefusedError(f"{where}: a value of {len(event.value):,} characters; at most {MAX_SCALAR:,}")
        if closed is not None:
            anchor, nodes, depth = opened[-1]
            opened[-1] = (anchor, nodes + closed[1], max(depth, closed[2] + 1))
            sizes.update({closed[0]: closed[1:]} if closed[0] else {})
        if opened[-1][1] > MAX_NODES:
            raise RefusedError(f"{where}: more than {MAX_NODES:,} keys and values, those behind aliases counted")
        if len(opened) + opened[-1][2] > MAX_DEPTH + 1:
            raise RefusedError(f"{where}: nested deeper than {MAX_DEPTH}")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises RefusedError if it is not a regular file, too large, too deep, or not JSON."""
    text = read_text(path, MAX_JSON)
    try:
        content = json.loads(text)  # int() refuses a number of more than 4,300 digits
        json.dumps(content, ensure_ascii=False).encode()  # a lone surrogate (\\ud800) could not be written again
        return content
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{path.as_posix()}: can't be read: {error}") from error


def check_size(value: Any, key: str, limit: int = MAX_NODES) -> None:
    """Raises RefusedError if an untrusted value has more than `limit` parts, or is nested deeper than MAX_DEPTH.

    Shared parts are counted each time they are reached, so a container that holds itself is too large.
    """
    parts = 0
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise refusal(key, "", f"nested deeper than {MAX_DEPTH}")
        if isinstance(part, Mapping):
            inner: Any = part.values()
        elif isinstance(part, Sequence | Set) and not isinstance(part, str | bytes | bytearray):
            inner = part
        else:
            continue
        parts += len(inner)
        if parts > limit:
            raise refusal(key, "", f"holds more than {limit:,} values")
        waiting.extend((each, depth + 1) for each in inner if not isinstance(each, str | int | float))


PLAIN = (type(None), bool, int, float, str)


def check_plain(value: Any, key: str = "", also: tuple[type, ...] = ()) -> None:
    """Raises RefusedError, with the key, unless `value` is plain, or a list, tuple or dict of plain values.

    Subclasses are refused, as are dict keys other than text and whole numbers, and text that OmegaConf would
    interpolate (`${…}`), in keys or values: it could call a resolver. `also` lists further types to accept.
    """
    waiting, seen = [(key, value)], set()
    while waiting:
        name, part = waiting.pop()
        kind = type(part)
        if kind is str and "${" in part:
            raise refusal(name, part, f"calls a resolver ({part[part.index('${') :][:40]}…); expected values alone")
        if kind in (*PLAIN, *also):
            continue
        if kind not in (dict, list, tuple):
            raise refusal(name, "", f"is a {kind.__name__}; expected plain values: text, numbers, lists, dicts")
        if id(part) in seen:  # an alias, or recursive
            continue
        seen.add(id(part))
        for inner in part if kind is dict else ():
            if type(inner) not in (str, int) or "${" in str(inner):
                raise refusal(name, "", f"has the key {inner!r}; expected text without ${{…}}, or a number")
        pairs = part.items() if kind is dict else enumerate(part)
        waiting.extend((f"{name}.{inner}".lstrip("."), each) for inner, each in pairs)
