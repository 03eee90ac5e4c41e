"""A project that can't be written is reported, and nothing is left; rendering needs neither git nor a network."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, cookiecutter_command, run
from rendered.disk import small_disk_at


def render(out: Path, user_config: Path) -> subprocess.CompletedProcess[str]:
    return cookiecutter_command("--no-input", "-o", out, ROOT, cwd=out.parent, user_config=user_config)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty folder on a disk of 700 kB."""
    with small_disk_at(tmp_path / "disk", "700k") as disk:
        yield disk


def test_a_full_disk_is_said_before_anything_is_written(small_disk: Path, user_config: Path) -> None:
    done = render(small_disk, user_config)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("Kindling: ")]
    assert said == [
        f"Kindling: {small_disk} has less than 3 MB free: make room to render, or give another place by -o."
    ]
    assert list(small_disk.iterdir()) == []


def test_a_folder_that_is_read_only_is_named(small_disk: Path, user_config: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = render(small_disk, user_config)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1] == f"OSError: Unable to create directory at {small_disk / 'my-project'}"
    assert list(small_disk.iterdir()) == []


def test_an_existing_folder_is_kept(tmp_path: Path, user_config: Path) -> None:
    kept = tmp_path / "my-project" / "README.md"
    kept.parent.mkdir()
    kept.write_text("mine\n")
    done = render(tmp_path, user_config)
    assert done.returncode != 0
    assert "already exists" in done.stdout + done.stderr
    assert [*kept.parent.iterdir()] == [kept]
    assert kept.read_text() == "mine\n"


def test_neither_git_nor_a_network_is_needed(tmp_path: Path, user_config: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "cookiecutter",
        "--config-file",
        str(user_config),
        "--no-input",
        "-o",
        str(tmp_path),
    ]
    alone = ["unshare", "--net", "--map-root-user"]
    if shutil.which(alone[0]) is None or run(*alone, "true", cwd=tmp_path).returncode:
        pytest.skip("unshare can't take the network away here")
    empty = tmp_path / "bin"
    empty.mkdir()
    for name in alone[:1]:
        (empty / name).symlink_to(str(shutil.which(name)))
    done = run(*alone, *command, str(ROOT), cwd=tmp_path, PATH=str(empty))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "my-project" / "train.py").is_file()
