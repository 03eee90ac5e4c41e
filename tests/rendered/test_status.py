"""status.json says what a run is doing, and how it ended; runs.py does not believe a process that is gone."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, fitting, options
from killed import STEP, At, let_finish, train, waiting
from starter import SMALL
from test_resume import QUICK as STEPS

QUICK = (*STEPS, *fitting(SMALL))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("status")


def status_of(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / "runs" / name / "status.json").read_text())


def listed(folder: Path, name: str) -> dict[str, Any]:
    """What `runs.py --json` says of a run."""
    status, said = Command(folder)("runs.py", "--json")
    assert status == 0, said
    return next(run for run in json.loads(said) if run["name"] == name)


def test_of_a_run_that_is_killed_resumed_and_finished(folder: Path) -> None:
    process = waiting(folder, "name=run", *QUICK, at=At(STEP, 4, "wait"))
    status = status_of(folder, "run")
    assert (status["state"], status["pid"], status["seed"]) == ("training", process.pid, 0)
    assert listed(folder, "run")["state"] == "training"
    process.kill()
    process.join()
    assert listed(folder, "run")["state"] == "killed"
    assert status_of(folder, "run")["state"] == "training"  # runs.py changes nothing
    started, seconds = status["started"], status["seconds"]
    status, said = train(folder, "name=run", *QUICK)
    assert status == 0, said
    status = status_of(folder, "run")
    assert (status["state"], status["started"]) == ("finished", started)
    assert status["seconds"] > seconds
    assert (status["epoch"], status["step"]) == (status["epochs"], status["steps"])
    assert_times_grow(folder / "runs" / "run", status["seconds"])
    monitor, choose = status["monitor"], {"min": min, "max": max}[status["mode"]]
    with (folder / "runs" / "run" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row[monitor]]
    best = choose(rows, key=lambda row: float(row[monitor]))
    progress = {key: int(best[key]) for key in ("epoch", "step")}
    assert status["best"] == {"value": float(best[monitor]), **progress}
    metrics = json.loads((folder / "runs" / "run" / "metrics.json").read_text())
    assert metrics["best"] == progress
    assert metrics["val"][monitor.removeprefix("val/")] == status["best"]["value"]


def assert_times_grow(run: Path, trained: float) -> None:
    """times.csv has a row for each of metrics.csv, in an order of time that includes what came before a kill."""
    with (run / "metrics.csv").open() as metrics, (run / "times.csv").open() as times:
        steps = [row["step"] for row in csv.DictReader(metrics)]
        rows = list(csv.DictReader(times))
    seconds = [float(row["seconds"]) for row in rows]
    assert [row["step"] for row in rows] == steps
    assert seconds == sorted(seconds)
    assert 0 < seconds[-1] <= trained + 5  # trained, and the test


def test_of_a_run_that_is_stopped_and_that_fails(folder: Path) -> None:
    process = waiting(folder, "name=stopped", *QUICK, at=At(STEP, 3, "wait"))
    process.terminate()
    status, said = let_finish(process, folder)
    assert status == 128 + signal.SIGTERM, said
    assert status_of(folder, "stopped")["state"] == "stopped"
    status, said = train(folder, "name=failed", *QUICK, at=At(STEP, 3, "nan"))
    assert status == 1, said
    status = status_of(folder, "failed")
    assert status["state"] == "failed"
    assert status["error"].startswith("TypeError: ")
    assert "\n" not in status["error"]
    assert listed(folder, "failed")["error"]


def test_a_run_that_is_refused_says_nothing_of_itself(folder: Path) -> None:
    status, said = train(folder, "name=run", *QUICK)
    assert status == 2, said  # it has finished
    assert status_of(folder, "run")["state"] == "finished"


FIRST_BATCH = "pytorch_lightning.loops.evaluation_loop:_EvaluationLoop._evaluation_step"
TEST = "pytorch_lightning.trainer.trainer:Trainer._test_impl"


def test_of_a_run_that_ends_before_its_first_step(folder: Path) -> None:
    sanity = (*QUICK, "trainer.num_sanity_val_steps=1")
    status, said = train(folder, "name=early", *sanity, at=At(FIRST_BATCH, 1, "kill"))
    assert status == -signal.SIGKILL, said
    assert listed(folder, "early")["state"] == "killed"
    begin = "pytorch_lightning.loops.fit_loop:_FitLoop.on_run_start"
    status, said = train(folder, "name=raised", *QUICK, at=At(begin, 1, "nan"))
    assert status == 1, said
    assert listed(folder, "raised")["state"] == "failed"


def test_of_a_run_that_is_killed_while_it_is_tested(folder: Path) -> None:
    status, said = train(folder, "name=tested", *QUICK, at=At(TEST, 1, "kill"))
    assert status == -signal.SIGKILL, said
    before = status_of(folder, "tested")
    status, said = train(folder, "name=tested", *QUICK)
    assert status == 0, said
    after = status_of(folder, "tested")
    assert after["state"] == "finished"
    for key in ("epoch", "epochs", "step", "steps", "seconds", "best"):
        assert after[key] == before[key] is not None


@pytest.mark.parametrize("model", options("model"))
def test_all_steps_are_done_at_the_end(model: str, folder: Path) -> None:
    """Also with several optimizers, each of which Lightning counts."""
    words = (f"model={model}", *STEPS, *fitting(SMALL, model))
    status, said = train(folder, f"name=all_{model}", *words)
    assert status == 0, said
    status = status_of(folder, f"all_{model}")
    assert status["step"] == status["steps"]


def test_steps_without_a_number_of_epochs(folder: Path) -> None:
    words = [word for word in QUICK if not word.startswith("trainer.max_epochs=")]
    ends = ("trainer.max_epochs=null", "trainer.max_steps=7")
    status, said = train(folder, "name=steps", *words, *ends)
    assert status == 0, said
    status = status_of(folder, "steps")
    assert (status["epochs"], status["step"], status["steps"]) == (None, 7, 7)


def test_a_stranger_s_status_does_not_keep_a_run_from_resuming(folder: Path) -> None:
    process = waiting(folder, "name=theirs", *QUICK, at=At(STEP, 4, "wait"))
    process.kill()
    process.join()
    for seconds in ("9" * 400, "1e999", '"long"'):
        text = f'{{"state": "stopped", "seconds": {seconds}, "started": [], "epoch": {{}}}}'
        (folder / "runs" / "theirs" / "status.json").write_text(text)
        process = waiting(folder, "name=theirs", *QUICK, at=At(STEP, 1, "wait"))
        assert 0 <= status_of(folder, "theirs")["seconds"] < 1000
        process.kill()
        process.join()
