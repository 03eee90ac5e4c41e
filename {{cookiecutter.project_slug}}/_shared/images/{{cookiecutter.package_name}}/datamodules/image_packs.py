"""Images in Arrow and Parquet files, such as those of Hugging Face `datasets`, with a class and a split for each.

An image in such a file is a part of it, `train.arrow/17@4711+822`: row 17, at byte 4711, of 822 bytes. Whatever reads
image files reads these too, by `content`, without Arrow and without the rest of the file.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from ..engine import log, new_file, refusal
from .image_lists import COLUMNS, UNSPLIT, Listed
from .splits import SPLIT_NAMES

PACK_SUFFIXES = (".parquet", ".arrow")
PLACE_PATTERN = re.compile(r"\d+@(\d+)\+(\d+)")
OF_PATTERN = re.compile(r"(.+)-(\d+)-of-(\d+)")  # data-00000-of-00004.arrow
STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"
ROWS = 256  # images unpacked at a time
VERSION = 1  # of unpacked files, part of their names


# One image in a file


class Bytes(io.BytesIO):
    """An encoded image in memory; Pillow's messages show the name."""

    name = ""

    def __repr__(self) -> str:
        return f"'{self.name}'"


def placed(file: Path) -> tuple[Path, int, int]:
    """Return where the bytes of an image are: a file, where in it they begin, and how many they are."""
    place = PLACE_PATTERN.fullmatch(file.name)
    return (file.parent, int(place[1]), int(place[2])) if place else (file, 0, file.stat().st_size)


def content(file: Path) -> Path | Bytes:
    """Return an image file, or the bytes of an image in an Arrow file, to be opened by Pillow."""
    pack, begin, size = placed(file)
    if pack == file:
        return file
    with pack.open("rb") as opened:
        opened.seek(begin)
        encoded = Bytes(opened.read(size))
    encoded.name = file.name
    return encoded


# Files


def pack_files(source: Path) -> list[Path]:
    """Return the Arrow and Parquet files of `source`, a file, or a folder of them or of `data` or split folders."""
    if not source.is_dir():
        return [source] if source.suffix.lower() in PACK_SUFFIXES else []
    tops = [each for each in source.iterdir() if each.name.lower() in ("data", *SPLIT_NAMES) and each.is_dir()]
    files = [file for top in (source, *tops) for file in top.iterdir() if file.suffix.lower() in PACK_SUFFIXES]
    # `datasets` leaves caches of its own, cache-*.arrow.
    return sorted(file for file in files if file.is_file() and not file.name.startswith((".", "cache-")))


def read_packs(source: Path, files: Sequence[Path], key: str, classes: str) -> list[Listed]:
    """Read which images `files` of `source` hold: a column of encoded images, and of classes and splits if there are.

    `classes` are required, optional or none.
    Without a column of splits, the names of files or of their folders are those of splits, as in `train-00000.parquet`.
    Raises RefusedError, which names `key`, if a file can't be read, is missing, or has no such columns.
    """
    _check_complete(source, files, key)
    splits = [_split_of(file, source) if source.is_dir() else UNSPLIT for file in files]
    if len({*splits}) == 1 and "train" not in splits:  # such as a test set on its own
        splits = [UNSPLIT] * len(files)
    if any(splits) and not all(splits):
        why = f"{files[splits.index(UNSPLIT)].name} names no split, and others do; expected train, val or test in each"
        raise refusal(key, source, why)
    listed = []
    for file, split in zip(files, splits, strict=True):
        name = file.relative_to(source).as_posix() if file != source else file.name
        with _as_refusal(file, key):
            arrow = file if file.suffix.lower() == ".arrow" and _is_mapped(file) else _unpacked(file)
            for number, (place, label, own) in enumerate(_rows(arrow, classes)):
                listed.append(Listed(arrow / f"{number}@{place}", f"{name}/{number}", label, own or split))
    if not listed:
        raise refusal(key, source, "holds no image")
    if any(each.split for each in listed) and "train" not in {each.split for each in listed}:
        raise refusal(key, source, "no image of the split train")
    return listed


def _check_complete(source: Path, files: Sequence[Path], key: str) -> None:
    """Raises RefusedError if files are missing, as their names tell: data-00000-of-00004.arrow."""
    parts: dict[tuple[Path, str, str], set[str]] = {}
    for file in files if source.is_dir() else ():
        if named := OF_PATTERN.fullmatch(file.stem):
            parts.setdefault((file.parent, named[1], named[3]), set()).add(named[2])
    for (_, stem, count), numbers in parts.items():
        if len(numbers) != int(count):
            raise refusal(key, source, f"{len(numbers)} of the {int(count)} files {stem}-…-of-{count} are there")


def _split_of(file: Path, source: Path) -> str:
    """Return the split that the name of a file begins with, or that of its folder within `source`, or UNSPLIT."""
    words = [re.split(r"[^a-z]", file.stem.lower())[0]] + [file.parent.name.lower()] * (file.parent != source)
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), UNSPLIT)


@contextmanager
def _as_refusal(file: Path, key: str) -> Iterator[None]:
    """Turn what is wrong with a file, for Arrow, the disk or this reader, into a RefusedError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        why = str(error) if type(error) is ValueError else f"can't be read ({type(error).__name__}: {error})"
        raise refusal(key, file, why) from error


# Rows


def _rows(file: Path, classes: str) -> Iterator[tuple[str, str, str]]:
    """Yield the place, class and split of each image of an Arrow file whose images are not compressed."""
    first = 0
    for batch, begin in _batches(file):
        names = _columns(batch.schema, classes)
        places = _places(_encoded(batch.column(names["image"])), begin)
        labels = _texts(batch, names["label"], first) if "label" in names else [""] * len(batch)
        splits = _texts(batch, names["split"], first) if "split" in names else [UNSPLIT] * len(batch)
        yield from zip(places, labels, map(_known_split, splits), strict=True)
        first += len(batch)


def _batches(file: Path) -> Iterator[tuple[Any, int]]:
    """Yield the batches of a mapped Arrow file or stream, and the address in memory at which the file begins."""
    import pyarrow as pa

    with pa.memory_map(str(file)) as mapped:
        whole = mapped.read_buffer()
        if whole[:6].to_pybytes() == b"ARROW1":
            reader = pa.ipc.open_file(whole)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number), whole.address
        elif whole[-len(STREAM_END) :].to_pybytes() != STREAM_END:
            raise ValueError("is no Arrow file, or is cut off")
        else:
            for batch in pa.ipc.open_stream(whole):
                yield batch, whole.address


def _is_mapped(file: Path) -> bool:
    """Return True if the images of an Arrow file can be read from their places: they are not compressed."""
    size = file.stat().st_size
    for batch, begin in _batches(file):
        images = _encoded(batch.column(_columns(batch.schema, "none")["image"]))
        data = images.buffers()[-1]
        inside = data is None or begin <= data.address <= begin + size - data.size
        if not inside or str(images.type) == "binary_view":
            return False
    return True


def _columns(schema: Any, classes: str) -> dict[str, str]:
    """Return the names of the columns that hold image, label and split, as far as there are such."""
    images = [field.name for field in schema if _is_image(field.type)]
    images = [name for name in images if name.lower() in ("image", "img")] or images
    if len(images) != 1:
        why = f"{len(images)} columns of encoded images (binary, or struct of bytes and path)"
        raise ValueError(f"{why} among {', '.join(schema.names[:8])}; expected one, or one that is called image")
    found = {name.lower(): name for name in schema.names if name not in images}
    kinds = ("label", "split") if classes != "none" else ("split",)
    chosen = {kind: found[name] for kind in kinds for name in reversed(COLUMNS[kind]) if name in found}
    if classes == "required" and "label" not in chosen:
        raise ValueError(f"no column label among {', '.join(schema.names[:8])}; expected the class of each image")
    return {"image": images[0], **chosen}


def _is_image(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_image(kind.field("bytes").type)
    return str(kind) in ("binary", "large_binary", "binary_view")


def _encoded(images: Any) -> Any:
    """Return the encoded images of a column as a binary array."""
    import pyarrow as pa

    images.validate(full=True)  # offsets beyond the data would be read
    return images.flatten()[images.type.get_field_index("bytes")] if pa.types.is_struct(images.type) else images


def _places(images: Any, begin: int) -> list[str]:
    """Return the places of images, 4711+822, in the file that begins at the address `begin`; missing ones are empty."""
    _, offsets, data = images.buffers()
    kind = np.int64 if str(images.type) == "large_binary" else np.int32
    ends = np.frombuffer(offsets, kind)[images.offset : images.offset + len(images) + 1].astype(np.int64)
    sizes = np.diff(ends) * images.is_valid().to_numpy(zero_copy_only=False)
    start = 0 if data is None else data.address - begin
    return [f"{start + offset}+{size}" for offset, size in zip(ends[:-1].tolist(), sizes.tolist(), strict=True)]


def _texts(batch: Any, name: str, first: int) -> list[str]:
    """Return a column as texts: classes by their names, if the schema has such, other whole numbers as they are.

    `first` is the row in the file with which the batch begins.
    """
    import pyarrow as pa

    column = batch.column(name)
    column.validate(full=True)
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    is_text = str(column.type) in ("string", "large_string", "string_view")
    if not (is_text or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
        raise ValueError(f"column {name} is of type {column.type}; expected text or whole numbers")
    names, texts = _class_names(batch.schema, name) if pa.types.is_integer(column.type) else [], []
    for number, value in enumerate(column.to_pylist(), first):
        if value is None or value == "" or (names and not 0 <= value < len(names)):
            raise ValueError(f"row {number} has no {name} ({value!r})")
        texts.append(names[value] if names else str(value))
    return texts


def _class_names(schema: Any, name: str) -> list[str]:
    """Return the names that `datasets` has written for the numbers of a column, if any."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [str(each) for each in features[name].get("names", ())]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def _known_split(name: str) -> str:
    if name and name.lower() not in SPLIT_NAMES:
        raise ValueError(f"no such split as {name!r}; expected train, val or test")
    return SPLIT_NAMES.get(name.lower(), UNSPLIT)


# Compressed files


def _unpacked(file: Path) -> Path:
    """Return an Arrow file, in the cache of this user, with the images of a Parquet or a compressed Arrow file."""
    fact = file.stat()
    with file.open("rb") as opened:  # the end of a Parquet file tells its contents
        opened.seek(max(0, fact.st_size - 2**16))
        known = f"{VERSION} {file.name} {fact.st_size} {fact.st_mtime_ns} ".encode() + opened.read()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / __name__.partition(".")[0]
    path = folder / f"{hashlib.sha256(known).hexdigest()[:32]}.arrow"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                log.info(f"Unpacking the images of {file.name} into {folder}, once")
                with new_file(path, binary=True) as unpacked:
                    _unpack(file, unpacked)
                    unpacked.flush()
                    os.utime(unpacked.name, ns=(fact.st_mtime_ns, fact.st_mtime_ns))
    except OSError as error:
        if error.errno:  # none: Arrow's, of the file
            why = f"can't be unpacked into {folder} ({error.strerror}); XDG_CACHE_HOME=<folder> sets another place"
            raise ValueError(why) from error
        raise
    return path


def _unpack(file: Path, unpacked: Any) -> None:
    """Write the images, classes and splits of a Parquet or Arrow file as an Arrow stream without compression."""
    import pyarrow as pa

    writer = None
    for batch in _parquet_batches(file) if file.suffix.lower() == ".parquet" else (each for each, _ in _batches(file)):
        names = _columns(batch.schema, "optional")
        columns = {name: batch.column(name) for name in names.values()}
        columns[names["image"]] = _encoded(columns[names["image"]]).cast(pa.large_binary())
        plain = pa.record_batch(columns).replace_schema_metadata(batch.schema.metadata)
        writer = writer or pa.ipc.new_stream(unpacked, plain.schema)
        writer.write_batch(plain)
    if writer is None:
        raise ValueError("holds no image")
    writer.close()


def _parquet_batches(file: Path) -> Iterator[Any]:
    from pyarrow import parquet

    with parquet.ParquetFile(file, memory_map=True) as opened:
        names = _columns(opened.schema_arrow, "optional")
        for batch in opened.iter_batches(ROWS, columns=[*names.values()], use_threads=False):
            yield batch.replace_schema_metadata(opened.schema_arrow.metadata)
