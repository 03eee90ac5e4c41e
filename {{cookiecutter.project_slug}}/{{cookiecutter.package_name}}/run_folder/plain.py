"""Bounds on files that may be a stranger's or a slip of one's own: measured before they are parsed. And safe new files.

The bounds are generous for real use, and small enough that what is within them is read in seconds.
"""

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import IO, Any

import yaml

from ..errors import RefusedError, refusal

MAX_CONFIG = 2**20  # bytes; the largest config that a starter writes has 4 kB
MAX_JSON = 2**24  # bytes; provenance.json grows by 1 kB each time a run is resumed
MAX_TABLE = 2**26  # bytes of metrics.csv: half a million rows of ten metrics
MAX_SCALAR = 2**16  # letters of one value in YAML, or digits of one number in JSON
MAX_NODES = 20_000  # keys and values of a config, those behind an alias counted each time; a starter's has 200
MAX_VALUES = 2**23  # of hyper-parameters, which hold categories and merges: the largest vocabulary has three million
REFERENCE = re.compile(r"\$\{([\w.\[\]]+)\}")
MAX_DEPTH = 50  # of containers within containers; a starter's config has 4


def read_text(path: Path, limit: int) -> str:
    """The UTF-8 text of a file. Raises RefusedError where it is no regular file, or has more than `limit` bytes."""
    name = path.as_posix()
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a FIFO would wait for its writer, a device has no end
            raise RefusedError(f"{name}: is no regular file")
        with path.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise RefusedError(f"{name}: is larger than {limit / 2**20:.0f} MB")
        return content.decode()
    except OSError as error:
        raise RefusedError(f"{name}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RefusedError(f"{name}: is no UTF-8 text ({error.reason} at byte {error.start})") from error


def yaml_text(path: Path) -> str:
    """The text of a YAML file that can be parsed and composed: of bounded size, depth and expansion of its aliases.

    Raises RefusedError otherwise. What is no YAML is left for the parser to say.
    """
    text = read_text(path, MAX_CONFIG)
    with contextlib.suppress(yaml.YAMLError):
        _check_events(text, path.as_posix())
    return text


def read_yaml(path: Path) -> Any:
    """What a YAML file holds. Raises RefusedError as `yaml_text` does, and where it is no YAML."""
    try:
        return yaml.safe_load(yaml_text(path))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not, a number of 10,000 digits
        raise RefusedError(f"{path.as_posix()}: can't be read: {' '.join(str(error).split())}") from error


def _check_events(text: str, name: str) -> None:
    """Count what the composer would make. An alias counts as all that it stands for, one within itself as too much."""
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
                raise RefusedError(f"{where}: a value of {len(event.value):,} letters; expected at most {MAX_SCALAR:,}")
        if closed is not None:
            anchor, nodes, depth = opened[-1]
            opened[-1] = (anchor, nodes + closed[1], max(depth, closed[2] + 1))
            sizes.update({closed[0]: closed[1:]} if closed[0] else {})
        if opened[-1][1] > MAX_NODES:
            raise RefusedError(f"{where}: more than {MAX_NODES:,} keys and values, those behind aliases counted")
        if len(opened) + opened[-1][2] > MAX_DEPTH + 1:
            raise RefusedError(f"{where}: nested deeper than {MAX_DEPTH}")


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises RefusedError where it is no regular file, too large, too deep, or no JSON."""
    text = read_text(path, MAX_JSON)
    try:
        content = json.loads(text, parse_int=_number)
        json.dumps(content, ensure_ascii=False).encode()  # half a letter (\\ud800) could not be written again
        return content
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{path.as_posix()}: can't be read: {error}") from error


def _number(digits: str) -> int:
    """Python takes quadratic time for it."""
    if len(digits) > 1000:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def check_plain(value: Any, key: str, limit: int = MAX_NODES) -> None:
    """Raises RefusedError where a value from elsewhere has more than `limit` parts, or is nested deeper than MAX_DEPTH.

    Parts are counted wherever they are reached: a container that holds itself, or one another many times, is too large.
    """
    parts = 0
    waiting: list[tuple[str, Any, int]] = [(key, value, 0)]
    while waiting:
        name, part, depth = waiting.pop()
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
        waiting.extend((name, each, depth + 1) for each in inner if not isinstance(each, str | int | float))


def check_references(values: dict[str, Any]) -> None:
    """Raises RefusedError, with the key, where `${key}` in the ends of a config would make too much of one another.

    `values` are the ends by their keys (`a.b[0]`). A reference counts as all that stands behind it.
    """
    measured: dict[str, tuple[int, int]] = {}  # of keys: letters, and references behind one another

    def measure(key: str, above: int = 0) -> tuple[int, int]:
        if key not in measured:
            measured[key] = (0, 0)  # one that leads back to itself is OmegaConf's to refuse
            ends = [key] if key in values else [name for name in values if name.startswith((f"{key}.", f"{key}["))]
            texts = [str(values[end]) for end in ends]
            named = [name for text in texts if "${" in text for name in REFERENCE.findall(text)]
            behind = [measure(name, above + 1) for name in named] if above < MAX_DEPTH else [(0, MAX_DEPTH)]
            size = sum(map(len, texts)) + sum(size for size, _ in behind)
            measured[key] = (size, 1 + max((depth for _, depth in behind), default=0))
        if measured[key][1] > MAX_DEPTH:
            raise refusal(key, "", f"a chain of more than {MAX_DEPTH} references")
        if measured[key][0] > MAX_CONFIG:
            raise refusal(key, "", f"its references make a text of more than {MAX_CONFIG / 2**20:.0f} MB")
        return measured[key]

    for key in [key for key, value in values.items() if isinstance(value, str) and "${" in value]:
        measure(key)


@contextlib.contextmanager
def new_file(path: Path, flush: bool = True, binary: bool = False) -> Iterator[IO[Any]]:
    """A file that is written beside `path`, and takes its place once it is whole; else nothing is left.

    It is UTF-8 text unless it is `binary`. A leftover of a killed process is removed. The file is made anew: what is
    written never goes through a link or a FIFO that lies in its place.
    """
    beside = path.with_name(f"{path.name}.tmp")
    beside.unlink(missing_ok=True)
    try:
        opened = beside.open("xb") if binary else beside.open("x", encoding="utf-8", newline="")  # x: os.O_EXCL
        with opened as file:
            yield file
            if flush:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


FOLDERS = ("checkpoints", "exports", "pictures", "plots", "predictions")
FILES = {".csv", ".ckpt", ".json", ".log", ".patch", ".tmp", ".yaml"}


def check_folder(folder: Path) -> None:
    """Raises RefusedError where what lies in a run folder, which may be a stranger's, could not be read or written.

    Such as a link that leads out of it, a FIFO, which waits for ever, or a folder in place of a file. W&B keeps links
    to logs of its own in wandb/, where nothing else is written, and that in a new folder each time.
    """
    root = folder.resolve()
    for path in folder.rglob("*") if folder.is_dir() else ():
        name = path.as_posix()
        if path.is_symlink():
            try:
                within = root in path.resolve().parents
            except (OSError, RuntimeError):  # it leads to itself
                within = False
            if not within and folder / "wandb" not in path.parents:
                raise RefusedError(f"{name} is a link that leads out of the run folder")
            continue
        kind = path.lstat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise RefusedError(f"{name} is a pipe, a socket or a device; a run folder holds files and folders alone")
        if (
            stat.S_ISDIR(kind)
            and path.suffix in FILES
            and path.parent in (folder, *(folder / each for each in FOLDERS))
        ):
            raise RefusedError(f"{name} is a folder; expected a file")
        if stat.S_ISREG(kind) and path.parent == folder and path.name in FOLDERS:
            raise RefusedError(f"{name} is a file; expected a folder")
