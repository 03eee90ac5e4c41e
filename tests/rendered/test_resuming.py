"""Resuming with any model: what the engine preserves, and what it refuses."""

import json
import os
import platform
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
from conftest import options
from killed import STEP, At, differences, final_state, let_finish, train, waiting
from test_resume import QUICK


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resuming")


UNUSUAL = {
    "a row at the start of an epoch": ("++callbacks.lr={_target_:pytorch_lightning.callbacks.LearningRateMonitor}",),
    "validation that counts over epochs": ("trainer.val_check_interval=4", "trainer.check_val_every_n_epoch=null"),
    "an early stop that min_epochs puts off": (
        "trainer.min_epochs=3", "trainer.max_epochs=5", "callbacks=[default,early_stopping]",
        "callbacks.early_stopping.stopping_threshold=1000",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSUAL)
def test_it_resumes_exactly_with_state_that_lightning_does_not_save(case: str, folder: Path) -> None:
    words, name = (*QUICK, *UNUSUAL[case]), case.replace(" ", "_")
    assert train(folder, f"name=whole_{name}", *words)[0] == 0
    for call in (7, 4):  # the first step of the second epoch, and one within it
        assert train(folder, f"name=killed_{name}", *words, at=At(STEP, call))[0] == -signal.SIGKILL
    status, said = train(folder, f"name=killed_{name}", *words)
    assert status == 0, said
    states = [final_state(folder / "runs" / f"{kind}_{name}") for kind in ("whole", "killed")]
    assert differences(*states) == []


def test_a_signal_to_all_processes_stops_the_training_cleanly(folder: Path) -> None:
    process = waiting(folder, "name=group", *QUICK, "datamodule.num_workers=2", at=At(STEP, 3, "wait"))
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:
        os.kill(each.pid, signal.SIGTERM)
    status, said = let_finish(process, folder)
    assert status == 143, said
    assert said.strip().splitlines()[-1].startswith("Stopped; the state of step ")


def test_a_second_ctrl_c_stops_at_once(folder: Path) -> None:
    slow = At("pytorch_lightning.loops.training_epoch_loop:_TrainingEpochLoop.on_advance_end", 3, "wait")
    process = waiting(folder, "name=twice", *QUICK, "save_minutes=10", at=slow)
    begun = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert time.monotonic() - begun < 5
    assert (folder / "said.txt").read_text().splitlines()[-1].startswith("Stopped. The same command with name=twice")


def test_a_second_process_is_refused_until_the_first_is_dead(folder: Path) -> None:
    slow = At(STEP, 3, "wait")
    process = waiting(folder, "name=shared", *QUICK, at=slow)
    status, said = train(folder, "name=shared", *QUICK)
    assert status == 2
    assert len(said.splitlines()) == 1
    assert f"name=shared: process {process.pid} on {platform.node()} has trained in runs/shared since" in said
    process.kill()
    process.join()
    assert (folder / "runs" / "shared" / "lock.json").exists()
    status, said = train(folder, "name=shared", *QUICK)
    assert status == 0, said
    assert not (folder / "runs" / "shared" / "lock.json").exists()


@pytest.mark.parametrize(
    ("holder", "refused"),
    [
        ({"pid": 1, "host": "another-host", "born": 0.0}, "delete runs/held/lock.json"),
        ({"pid": os.getpid(), "host": platform.node(), "born": 1.0}, ""),  # the pid now belongs to another process
        ({"pid": 2**22 + 1, "host": platform.node(), "born": 1.0}, ""),
        ({}, ""),  # killed while writing
    ],
)
def test_a_lock_counts_while_its_process_may_be_alive(holder: dict[str, object], refused: str, folder: Path) -> None:
    run = folder / "runs" / "held"
    run.mkdir(parents=True, exist_ok=True)
    (run / "lock.json").write_text(json.dumps({**holder, "since": "2026-01-01"}))
    status, said = train(folder, "--check", "name=held", *QUICK)
    assert status == (2 if refused else 0), said
    assert refused in said
    if refused:
        assert "process 1 on another-host" in said


@pytest.fixture(scope="module")
def unfinished(folder: Path) -> Path:
    """A run that was killed in its first epoch."""
    assert train(folder, "name=unfinished", *QUICK, at=At(STEP, 4))[0] == -signal.SIGKILL
    return folder / "runs" / "unfinished"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("datamodule.batch_size=7", "datamodule.batch_size=7: runs/unfinished was begun with "),
        ("seed=3", "seed=3: runs/unfinished was begun with 0"),
        ("trainer.gradient_clip_val=1.0", "trainer.gradient_clip_val=1.0: runs/unfinished was begun with None"),
        ("~callbacks.finite_guard", "was begun with"),
    ],
)
def test_a_changed_config_is_refused(change: str, said: str, unfinished: Path, folder: Path) -> None:
    before = {path: path.read_bytes() for path in unfinished.rglob("*") if path.is_file()}
    status, output = train(folder, "name=unfinished", *QUICK, change)
    assert status == 2
    assert said in output
    assert "resume=inexact resumes anyway" in output
    assert len(output.splitlines()) == 1
    assert {path: path.read_bytes() for path in unfinished.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("key", "named"), [("data_sha256", "training data"), ("processes", "number of processes")])
def test_other_data_or_another_number_of_processes_is_refused(
    key: str, named: str, unfinished: Path, folder: Path
) -> None:
    path = unfinished / "provenance.json"
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), key: 7}))
    try:
        status, output = train(folder, "name=unfinished", *QUICK)
        assert status == 2
        assert f"name=unfinished: the {named} changed since the run began" in output.splitlines()[-1]
    finally:
        path.write_text(before)


def test_a_run_that_lost_its_config_does_not_start_over(unfinished: Path, folder: Path) -> None:
    kept = (unfinished / "config.yaml").rename(folder / "config.yaml")
    status, said = train(folder, "name=unfinished", *QUICK)
    kept.rename(unfinished / "config.yaml")
    assert status == 2
    assert "has checkpoints but no config.yaml" in said


def test_another_model_is_refused_by_name(unfinished: Path, folder: Path) -> None:
    """Also with resume=inexact; the saved state stays."""
    shutil.copytree(unfinished, unfinished.with_name("network"))
    others = [model for model in options("model") if f"models.{model}." not in (unfinished / "config.yaml").read_text()]
    status, said = train(folder, "name=network", *QUICK, "resume=inexact", f"model={others[0]}")
    assert status == 2
    assert "init_from=runs/network" in said.splitlines()[-1]


def test_inexact_resumes_with_changes(unfinished: Path, folder: Path) -> None:
    status, said = train(folder, "name=unfinished", *QUICK, "resume=inexact", "datamodule.batch_size=7")
    assert status == 0, said
    assert "Resuming from" in said
