"""status.json says what a run is doing, and how it ended; runs.py does not believe a process that is gone."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, fitting
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
