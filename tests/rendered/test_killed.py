"""A run that is killed or stopped at any moment and resumed ends bit-identical to an uninterrupted one."""

import json
import os
import signal
from pathlib import Path

import pytest
from conftest import fitting
from killed import PACKAGE, STEP, At, differences, final_state, let_finish, train, waiting
from starter import SMALL
from test_resume import QUICK as STEPS

QUICK = (*STEPS, *fitting(SMALL))
LOOPS = "pytorch_lightning.loops"
# In the order in which a run meets them: it is killed at each, and resumed until the next.
PHASES = {
    "reading the data": At(f"{PACKAGE}.engine.training.train:build_datamodule"),
    "sanity check": At("pytorch_lightning.trainer.trainer:Trainer._run_sanity_check"),
    "first step": At(STEP),
    "within the epoch": At(STEP, 4),
    "writing a checkpoint": At("torch.serialization:_open_zipfile_writer_buffer.__exit__"),
    "between two renames": At(f"{PACKAGE}.engine.runs.checkpoint_files:_flush_folder"),
    "between last batch and validation": At(f"{LOOPS}.evaluation_loop:_EvaluationLoop.run"),
    "in validation": At(f"{LOOPS}.evaluation_loop:_EvaluationLoop._evaluation_step", 2),
    "writing a row of metrics.csv": At(f"{PACKAGE}.engine.training.metrics_log:MetricsLog._writer", 2),
    "after validation": At(f"{LOOPS}.fit_loop:_FitLoop.on_advance_end"),
    "in the second epoch": At(STEP, 3),
    "in the second validation": At(f"{LOOPS}.evaluation_loop:_EvaluationLoop._evaluation_step", 1),
    "in the final test": At("pytorch_lightning.trainer.trainer:Trainer.test"),
    "writing the results": At(f"{PACKAGE}.engine.training.train:draw_curves"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> dict[str, str]:
    status, said = train(folder, "name=undisturbed", *QUICK)
    assert status == 0, said
    return final_state(folder / "runs" / "undisturbed")


def test_killed_in_each_phase_and_resumed_it_ends_bit_identical(folder: Path, undisturbed: dict[str, str]) -> None:
    for phase, at in PHASES.items():
        status, said = train(folder, "name=killed", *QUICK, at=at)
        assert status == -signal.SIGKILL, f"not killed {phase}: {said}"
    status, said = train(folder, "name=killed", *QUICK)
    assert status == 0, said
    assert differences(undisturbed, final_state(folder / "runs" / "killed")) == []
    resumed = json.loads((folder / "runs" / "killed" / "provenance.json").read_text())["resumed"]
    assert len(resumed) == len(PHASES) - 1  # the first was killed before the run began


def test_killed_after_its_last_step_in_mid_epoch_it_ends_the_same(folder: Path) -> None:
    """Nothing is left to train then: no validation runs in the process that ends the run."""
    words = (*QUICK, "trainer.max_epochs=-1", "trainer.max_steps=8")
    assert train(folder, "name=steps", *words)[0] == 0
    at = PHASES["in the final test"]
    assert train(folder, "name=steps_killed", *words, at=at)[0] == -signal.SIGKILL
    status, said = train(folder, "name=steps_killed", *words)
    assert status == 0, said
    states = [final_state(folder / "runs" / name) for name in ("steps", "steps_killed")]
    assert differences(*states) == []


def test_a_run_with_averaged_weights_ends_bit_identical(folder: Path) -> None:
    words = (*(word for word in QUICK if not word.startswith("callbacks=")), "callbacks=[default,ema]")
    assert train(folder, "name=averaged", *words)[0] == 0
    for phase in ("within the epoch", "after validation", "in the second epoch"):
        assert train(folder, "name=averaged_killed", *words, at=PHASES[phase])[0] == -signal.SIGKILL
    status, said = train(folder, "name=averaged_killed", *words)
    assert status == 0, said
    states = [final_state(folder / "runs" / name) for name in ("averaged", "averaged_killed")]
    assert differences(*states) == []


def test_another_seed_gives_other_bits(folder: Path, undisturbed: dict[str, str]) -> None:
    assert train(folder, "name=other", *QUICK, "seed=1")[0] == 0
    other = final_state(folder / "runs" / "other")
    assert "metrics.csv" in differences(undisturbed, other)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_end_and_saves(sent: signal.Signals, folder: Path, undisturbed: dict[str, str]) -> None:
    name = sent.name
    slow = At(f"{LOOPS}.training_epoch_loop:_TrainingEpochLoop.on_advance_end", 5, "wait")
    process = waiting(folder, f"name={name}", *QUICK, "save_minutes=10", at=slow)
    os.kill(process.pid, sent)
    status, said = let_finish(process, folder)
    assert status == 128 + sent
    assert said.splitlines()[-1] == (
        f"Stopped; the state of step 5 is saved. The same command with name={name} resumes from "
        f"runs/{name}/checkpoints/last.ckpt."
    )
    assert said.splitlines()[-1] in (folder / "runs" / name / "train.log").read_text(encoding="utf-8")
    status, after = train(folder, f"name={name}", *QUICK, "save_minutes=10")
    assert status == 0, after
    assert "Resuming from" in after
    assert differences(undisturbed, final_state(folder / "runs" / name)) == []
