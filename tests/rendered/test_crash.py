"""Damaged checkpoints, folders that can't be written and NaN losses are named, and nothing good is lost."""

import contextlib
import json
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from disk import small_disk_at
from killed import STEP, At, let_finish, train, waiting
from test_resume import QUICK

from my_project.engine.runs.checkpoint_files import damage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crash")


@pytest.fixture(scope="module")
def killed(folder: Path) -> Path:
    """A run that was killed in its second epoch; it has last.ckpt and previous.ckpt."""
    assert train(folder, "name=killed", *QUICK, at=At(STEP, 9))[0] == -9
    return folder / "runs" / "killed"


@pytest.fixture
def checkpoints(killed: Path) -> Path:
    """The checkpoints of that run, restored for each test."""
    kept = killed.with_name("kept")
    if not kept.exists():
        shutil.copytree(killed, kept)
    shutil.rmtree(killed)
    shutil.copytree(kept, killed)
    return killed / "checkpoints"


def flip(path: Path, at: int, count: int = 64) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + count] = bytes(byte ^ 0x10 for byte in content[at : at + count])
    path.write_bytes(content)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one byte short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "flipped bits": lambda path: flip(path, path.stat().st_size // 2),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(kind: str, checkpoints: Path, folder: Path) -> None:
    before = torch.load(checkpoints / "previous.ckpt", weights_only=True)["global_step"]
    DAMAGES[kind](checkpoints / "last.ckpt")
    status, said = train(folder, "name=killed", *QUICK)
    assert status == 0, said
    assert "runs/killed/checkpoints/last.ckpt: it" in said
    assert f"Resuming from runs/killed/checkpoints/last.ckpt, step {before}" in said
    assert (checkpoints / "damaged.ckpt").is_file()


def test_without_an_intact_checkpoint_it_does_not_start_over(checkpoints: Path, folder: Path) -> None:
    for name in ("last", "previous"):
        DAMAGES["flipped bits"](checkpoints / f"{name}.ckpt")

    def kept() -> dict[Path, bytes]:
        """Return all files but the lock and the log, in which the Trainer may remark on an unused GPU."""
        files = (path for path in checkpoints.parent.rglob("*.*") if path.name not in ("lock.json", "train.log"))
        return {path: path.read_bytes() for path in files}

    before = kept()
    status, said = train(folder, "name=killed", *QUICK)
    assert status == 2
    assert len(said.splitlines()) == 1
    assert "name=killed: no intact checkpoint is left" in said
    assert "init_from=runs/killed" in said
    assert kept() == before


def test_a_flipped_bit_is_detected_or_harmless(checkpoints: Path) -> None:
    """A flip in the padding between the records changes nothing."""
    path = checkpoints / "last.ckpt"
    whole = path.read_bytes()
    tensors = torch.load(path, weights_only=True)["state_dict"]
    rng = random.Random(0)
    unseen = 0
    for _ in range(150):
        flip(path, rng.randrange(len(whole)), 1)
        if damage(path) is None:
            unseen += 1
            again = torch.load(path, weights_only=True)["state_dict"]
            assert all(torch.equal(again[name], value) for name, value in tensors.items())
        path.write_bytes(whole)
    assert unseen < 30


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 6 MB."""
    with small_disk_at(tmp_path / "disk", "6m") as disk:
        yield disk


SLOW = At(STEP, 4, "wait")


def assert_one_clear_line(status: int, said: str, reason: str, name: str) -> None:
    assert status == 1
    line = said.strip().splitlines()[-1]
    assert reason in line
    assert line.endswith(f"The same command with name={name} resumes from runs/{name}/checkpoints/last.ckpt.")
    assert "Traceback" not in said


def test_a_full_disk_is_reported_and_the_last_checkpoint_stays(small_disk: Path) -> None:
    process = waiting(small_disk, "name=full", *QUICK, at=SLOW)
    # The output goes to the same disk: this file keeps room for it until the training resumes.
    (small_disk / "room").write_bytes(bytes(2**13))
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(2**12)):
            pass
    (small_disk / "room").unlink()
    status, said = let_finish(process, small_disk)
    assert_one_clear_line(status, said, "No space left on device", "full")
    assert damage(small_disk / "runs" / "full" / "checkpoints" / "last.ckpt") is None
    (small_disk / "filler").unlink()
    status, said = train(small_disk, "name=full", *QUICK)
    assert status == 0, said


def test_a_read_only_folder_is_reported(small_disk: Path) -> None:
    process = waiting(small_disk, "name=locked", *QUICK, at=SLOW)
    runs = small_disk / "runs"
    subprocess.run(["mount", "--bind", str(runs), str(runs)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(runs)], check=True)
    try:
        status, said = let_finish(process, small_disk)
        assert_one_clear_line(status, said, "Read-only file system", "locked")
    finally:
        subprocess.run(["umount", str(runs)], check=True)


def test_a_removed_folder_is_reported(folder: Path) -> None:
    process = waiting(folder, "name=removed", *QUICK, at=SLOW)
    shutil.rmtree(folder / "runs" / "removed")
    status, said = let_finish(process, folder)
    assert status == 1
    assert said.strip().splitlines()[-1].startswith("runs/removed")
    assert not (folder / "runs" / "removed").exists()


def test_a_nan_stops_the_run_before_a_checkpoint_holds_it(folder: Path) -> None:
    made_nan = At("pytorch_lightning.strategies.strategy:Strategy.training_step", 9, "nan")
    status, said = train(folder, "name=blown", *QUICK, at=made_nan)
    assert status == 1, said
    first, second, third = said.strip().splitlines()[-3:]
    pattern = r"Step 8 \(epoch 1, batch 2\): the loss is nan; learning rate [\d.e-]+, gradient norm nan, samples "
    assert re.match(pattern, first)
    run = folder / "runs" / "blown"
    kept = torch.load(next((run / "nonfinite").glob("*.pt")), weights_only=True)
    assert len(kept["ids"]) == len(kept["batch"][0]) > 1
    assert str(kept["ids"][0]) in first
    assert "nonfinite/epoch_1_batch_" in second
    assert "name=blown trainer.detect_anomaly=true" in third
    assert all(line in (run / "train.log").read_text(encoding="utf-8") for line in (first, second, third))
    assert json.loads((run / "status.json").read_text())["error"].endswith(third.split()[-1])
    for path in (run / "checkpoints").glob("*.ckpt"):
        weights = torch.load(path, weights_only=True)["state_dict"].values()
        assert all(torch.isfinite(weight).all() for weight in weights)
    status, said = train(folder, "name=blown", *QUICK, "trainer.detect_anomaly=true")
    assert status == 0, said  # the cause, injected by this test, is gone
    assert "Resuming from" in said
