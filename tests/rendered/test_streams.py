"""Closed streams, a reader that is gone and a missing folder: whole commands, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import NO_LOGGER, ROOT


@pytest.mark.parametrize(("words", "status"), [("--help >&-", 0), ("--cfg job >&-", 0), ("nope=1 2>&-", 2)])
def test_a_closed_stream_is_as_good_as_one_that_nobody_reads(words: str, status: int, tmp_path: Path) -> None:
    done = subprocess.run(["sh", "-c", f"{sys.executable} {ROOT / 'train.py'} {words}"], cwd=tmp_path)
    assert done.returncode == status
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_trained_with_all_streams_closed(tmp_path: Path) -> None:
    words = f"name=quiet trainer=debug callbacks=[default] trainer.limit_train_batches=1 {' '.join(NO_LOGGER)}"
    done = subprocess.run(["sh", "-c", f"{sys.executable} {ROOT / 'train.py'} {words} <&- >&- 2>&-"], cwd=tmp_path)
    assert done.returncode == 0
    assert "Results" in (tmp_path / "runs" / "quiet" / "train.log").read_text(encoding="utf-8")


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"cd {gone} && rmdir {gone} && {sys.executable} {ROOT / 'train.py'}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "is gone" in done.stderr


def test_help_ends_quietly_where_its_reader_has_seen_enough() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, ROOT / "train.py", "--help"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
