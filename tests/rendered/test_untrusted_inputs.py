"""Untrusted images and arrays given to predict.py run no code, and take no memory that they only claim."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from my_project.engine.errors import RefusedError

read_inputs = pytest.importorskip("my_project.datamodules.image_store", reason="it reads no images").read_inputs

SHAPE = (1, 8, 8)


class Payload:
    """Creates the file ran.txt when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran.txt",)


def test_an_array_of_objects_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("object.npy", np.array([Payload()], dtype=object), allow_pickle=True)
    with pytest.raises(RefusedError, match="can't be read as an array"):
        read_inputs(Path("object.npy"), SHAPE)
    assert not Path("ran.txt").exists()


def test_an_array_that_claims_more_than_its_file_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.npy"
    np.save(path, np.zeros((1, 8, 8)))
    content = path.read_bytes()
    claimed = content.replace(b"(1, 8, 8), }          ", b"(99999999999, 8, 8), }")
    assert len(claimed) == len(content)
    assert claimed != content
    path.write_bytes(claimed)
    with pytest.raises(RefusedError, match="can't be read as an array"):
        read_inputs(path, SHAPE)


def test_a_file_of_another_kind_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow goes by the content, whatever the name: for PostScript it starts Ghostscript."""
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran.txt\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "cat.png"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    names, _, unreadable = read_inputs(path, SHAPE)
    assert names == []
    assert "UnidentifiedImageError" in unreadable[0]
    assert not (tmp_path / "ran.txt").exists()


@pytest.mark.parametrize("side", [10_000, 40_000])
def test_a_small_file_that_is_a_huge_image_is_left_out(side: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of_zeros(side))
    assert path.stat().st_size < 300_000
    names, _, unreadable = read_inputs(path, SHAPE)
    assert names == []
    assert "DecompressionBomb" in unreadable[0]


def png_of_zeros(side: int) -> bytes:
    """Return a black image with one bit a pixel."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
