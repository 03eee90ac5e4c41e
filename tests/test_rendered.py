"""The rendered repository passes its own tests, and each logger really logs."""

import json
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CHOICES, DEFAULTS, Bake, commit, metadata_of, run, title, with_engine_tests

DEBUG = ("trainer=debug", "trainer.enable_progress_bar=false", "name=logged")


KILLS = [
    f"tests/test_{name}.py" for name in ("resume", "killed", "resuming", "crash", "rerun", "untrusted")
]  # they take half the time
# Refusals and evaluation of the engine, and the files of DATA.md: slow, like other tests of the engine.
REFUSALS = [
    f"tests/test_{name}.py" for name in ("bounds", "data_page", "evaluation", "gate", "monitor", "shown", "trial")
]
PARTS = {"kills": KILLS, "the rest": [f"--ignore={path}" for path in (*KILLS, *REFUSALS)]}
LOGGERS = [logger for logger in CHOICES["logger"] if logger != DEFAULTS["logger"]]
OWN_TESTS = {
    **{f"the default answers: {part}": ({}, files) for part, files in PARTS.items()},
    "uv": ({"environment": "uv"}, ["tests/test_configs.py"]),  # two messages name another command
    "notebook": ({"notebook": "jupyter"}, ["tests/test_notebook.py"]),
    # Tests that involve a logger. Command lines leave it out of their trainings, and those of one project show that for
    # all loggers; below, each logger logs a training.
    **{logger: ({"logger": logger}, ["tests/test_configs.py"]) for logger in LOGGERS},
    LOGGERS[0]: ({"logger": LOGGERS[0]}, ["tests/test_command_line.py", "tests/test_configs.py"]),
}
# Each choice of each question, spread over the starters: as many sets as the longest list of choices.
EACH = [
    {question: choices[number % len(choices)] for question, choices in CHOICES.items()}
    for number in range(max(map(len, CHOICES.values())))
]
# Tests of the engine run only with the default answers.
ENGINE = [
    f"--ignore=tests/test_{name}.py"
    for name in (
        *("bounds", "crash", "evaluation", "exact", "finite_guard", "gate", "resuming", "monitor", "own_mistakes"),
        *("processes", "report", "runs", "shown", "streams", "trackers", "trial", "untrusted"),
    )
]
STARTER_PARTS = {
    "kills": ["tests/test_resume.py", "tests/test_killed.py", "tests/test_rerun.py", "tests/test_folds.py"],
    "the rest": [*ENGINE, *(f"--ignore=tests/test_{name}.py" for name in ("resume", "killed", "rerun", "folds"))],
}
LONG_TESTS = {
    "the default answers: refusals": ({}, REFUSALS),
    **{
        f"{title(answers)}: {part}": (answers, files)
        for answers in EACH
        if answers != DEFAULTS
        for part, files in STARTER_PARTS.items()
    },
}


@pytest.mark.parametrize("part", [*OWN_TESTS, *(pytest.param(part, marks=pytest.mark.long) for part in LONG_TESTS)])
def test_its_own_tests_pass(part: str, bake: Bake) -> None:
    answers, files = {**OWN_TESTS, **LONG_TESTS}[part]
    project = with_engine_tests(bake(**answers))
    # A temporary folder of its own: pytest keeps three in the shared one, and would remove those of parallel runs.
    words = ("-n", "0", "-p", "no:cacheprovider", f"--basetemp={project.parent / 'pytest'}")
    done = run(sys.executable, "-m", "pytest", *words, *files, cwd=project)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    assert " passed" in done.stdout


def trained(bake: Bake, logger: str, *words: str) -> tuple[Path, dict[str, float]]:
    """Return the run folder of a short training with a logger, and the test metrics in metrics.json."""
    project = bake(logger=logger)
    done = run(sys.executable, "train.py", *DEBUG, *words, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = project / "runs" / "logged"
    return folder, json.loads((folder / "metrics.json").read_text())["test"]


@pytest.mark.long
@pytest.mark.parametrize("logger", CHOICES["logger"][1:])
def test_what_a_logger_leaves_in_a_run_folder_is_in_the_way_of_nothing(logger: str, bake: Bake) -> None:
    """A killed run resumes and a finished one is evaluated, although W&B leaves links to logs elsewhere."""
    project = bake(logger=logger)
    words = [*DEBUG[:2], "name=killed", "trainer.max_epochs=8", "save_minutes=0", "callbacks=[default]"]
    command = [sys.executable, "train.py", *words, *(["logger.wandb.offline=true"] if logger == "wandb" else [])]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (project / "runs" / "killed" / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -9
    for line in (command, [sys.executable, "evaluate.py", "run=runs/killed"]):
        done = run(*line, cwd=project)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "Resuming from" in (project / "runs" / "killed" / "train.log").read_text()


def test_versions_with_known_holes_are_not_allowed(bake: Bake) -> None:
    """pytorch-lightning below 2.6.6 runs what a checkpoint names (CVE-2026-58659), Hydra below 1.3.8 more targets."""
    assert {"pytorch-lightning>=2.6.6,<2.7", "hydra-core>=1.3.8,<1.5"} <= {*metadata_of(bake())["dependencies"]}


def test_tensorboard_reads_what_was_logged(bake: Bake) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, test = trained(bake, "tensorboard")
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert events.Scalars("test/accuracy")[-1].value == pytest.approx(test["accuracy"])
    assert [event.step for event in events.Scalars("val/loss")] == [2]
    assert set(events.Tags()["images"]) >= {"test/confusion_matrix", "test/worst_mistakes"}


def test_provenance_tells_commit_changes_and_untracked_files(bake: Bake) -> None:
    project = bake()
    run("git", "init", "--quiet", cwd=project)
    commit(project, "Begin")
    with (project / "my_project" / "models" / "cnn.py").open("a", encoding="utf-8") as file:
        file.write("\n# a change that is not committed\n")
    (project / "notes.txt").write_text("new\n")
    done = run(sys.executable, "train.py", *DEBUG, "callbacks=[default]", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    known = json.loads((project / "runs" / "logged" / "provenance.json").read_text())
    head = run("git", "rev-parse", "HEAD", cwd=project).stdout.strip()
    assert known["git"] == {"commit": head, "dirty": True, "untracked": ["notes.txt"]}
    assert "ada@example.org" not in json.dumps(known)
    assert run("git", "apply", "--check", "--reverse", "runs/logged/changes.patch", cwd=project).returncode == 0


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_run_is_used_like_any_other(bake: Bake) -> None:
    import torch

    folder, test = trained(bake, "csv", "model.compile=true")
    keys = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"].keys()
    assert "network.head.1.weight" in keys
    assert not any("_orig_mod" in key for key in keys)
    done = run(sys.executable, "evaluate.py", "run=runs/logged", "trainer.limit_test_batches=2", cwd=folder.parents[1])
    assert done.returncode == 0, done.stderr
    evaluated = json.loads((folder / "evaluation_best.json").read_text())["test"]
    assert evaluated["loss"] == pytest.approx(test["loss"], rel=1e-4)


def wandb_records(path: Path) -> Iterator[Any]:
    """Yield the records of an offline run: W&B's protocol buffers in LevelDB's log format, after a 7-byte header.

    A block of 32 kB holds fragments: a checksum (4 bytes), a length (2), and a kind (1): whole (1), first (2), middle
    (3) or last (4). W&B's own reader is part of its server program, so the format is read here.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, gathered = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        gathered += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield Record.FromString(gathered)
            gathered = b""


def test_wandb_holds_what_was_logged_offline(bake: Bake) -> None:
    folder, test = trained(bake, "wandb", "logger.wandb.offline=true")
    logged: dict[str, Any] = {}
    for record in wandb_records(next(folder.glob("wandb/offline-run-*/*.wandb"))):
        for item in record.history.item:
            logged["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    assert logged["test/accuracy"] == pytest.approx(test["accuracy"])
    assert any(key.startswith("test/confusion_matrix") for key in logged)


def test_mlflow_reads_what_was_logged(bake: Bake) -> None:
    from mlflow.tracking import MlflowClient

    folder, test = trained(bake, "mlflow")
    client = MlflowClient(tracking_uri=f"sqlite:///{folder.parents[1] / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("my-project")
    assert experiment is not None
    logged = client.search_runs([experiment.experiment_id])[0]
    assert logged.data.metrics["test/accuracy"] == pytest.approx(test["accuracy"])
    assert logged.data.params["optimizer/lr"] == "0.003"
    assert {file.path for file in client.list_artifacts(logged.info.run_id, "plots")} >= {"plots/confusion_matrix.png"}


@pytest.mark.long
def test_two_runs_that_begin_at_once_make_one_database(bake: Bake) -> None:
    project = bake(logger="mlflow")
    command = [sys.executable, "train.py", *DEBUG[:2], "callbacks=[default]"]
    begun = [
        subprocess.Popen(
            [*command, f"name=run_{number}"], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for number in range(3)
    ]
    said = [process.communicate()[0].decode() for process in begun]
    assert [process.returncode for process in begun] == [0, 0, 0], said
