"""Two processes that train together give the numbers of one, and neither waits for ever for one that is gone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Bake, with_engine_tests

pytestmark = pytest.mark.long

# Runs train.py; at its third step, the second process does what $AT says.
SCRIPT = """
import os, sys
sys.path[:0] = [{root!r}, {root!r} + "/tests"]
from killed import STEP, At, _arm
from my_project.engine.training.processes import Watch
Watch.patience = 2.0
if os.environ.get("LOCAL_RANK") == "1" and os.environ["AT"]:
    _arm(At(STEP, 3, os.environ["AT"]))
train = {root!r} + "/train.py"  # not by runpy, which would have Lightning start train.py itself
exec(compile(open(train).read(), train, "exec"), {{"__name__": "__main__", "__file__": train}})
"""
# 361 samples: 181 are two batches of the first process, 180 are one of the second.
UNEVEN = ("datamodule.batch_size=180", "datamodule.val_fraction=0.20085", "datamodule.test_fraction=0.20085")
WORDS = (
    "trainer=ddp",
    "trainer.accelerator=cpu",
    "trainer.devices=2",
    "trainer.max_epochs=2",
    "save_minutes=0",
    *UNEVEN,
)


def start(project: Path, name: str, at: str = "") -> subprocess.Popen[str]:
    script = project / "together.py"
    script.write_text(SCRIPT.format(root=str(project)), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(script), *WORDS, f"name={name}"],
        cwd=project,
        env={**os.environ, "AT": at, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_processes_measure_what_one_does_and_end_together(bake: Bake) -> None:
    project = with_engine_tests(bake())
    resumes = "The same command with name={0} resumes from runs/{0}/checkpoints/last.ckpt."

    died = start(project, "died", at="kill")
    said, _ = died.communicate(timeout=120)
    assert died.returncode == 1, said
    assert said.strip().splitlines()[-1].endswith(resumes.format("died"))
    assert "Traceback" not in said

    resumed = start(project, "died")
    said, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, said
    assert "sync_dist" not in (project / "runs" / "died" / "train.log").read_text(encoding="utf-8")
    alone = [sys.executable, "evaluate.py", "run=runs/died", "trainer.accelerator=cpu"]
    subprocess.run(alone, cwd=project, check=True, capture_output=True)
    together, one = (
        json.loads((project / "runs" / "died" / file).read_text(encoding="utf-8"))
        for file in ("metrics.json", "evaluation_best.json")
    )
    one = one.get("test", one)
    for name in ("loss", "accuracy", "macro_f1"):
        assert together["test"][name] == pytest.approx(one[name], abs=1e-5), name

    hung = start(project, "hung", at="wait")
    while not (project / "waits").exists():
        assert hung.poll() is None, hung.communicate()[0]
        time.sleep(0.05)
    os.kill(hung.pid, signal.SIGTERM)
    said, _ = hung.communicate(timeout=60)
    assert hung.returncode == 128 + signal.SIGTERM, said
    assert said.strip().splitlines()[-1].endswith(resumes.format("hung"))
    assert not (project / "runs" / "hung" / "lock.json").exists()
