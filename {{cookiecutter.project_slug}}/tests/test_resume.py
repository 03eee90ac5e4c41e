"""A run that is killed and resumed ends bit-identical to an uninterrupted one, with every model in configs/model/."""

import time
from pathlib import Path

import pytest
import torch
from conftest import NO_LOGGER, Command, fitting, options
from starter import SMALL

# A few steps with each phase in them, and a save before each step.
QUICK = (
    "trainer.max_epochs=2", "trainer.limit_train_batches=6", "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=3", "trainer.accelerator=cpu", "save_minutes=0", "callbacks=[default]", *NO_LOGGER,
)  # fmt: skip


def weights(run: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("model", options("model"))
def test_a_killed_run_resumes_bit_identical(model: str, command: Command) -> None:
    """What a model of yours gathers in Python alone would be lost: see `epoch_state` in engine/training/resume.py."""
    check_killed(command, model, f"model={model}", *fitting(SMALL, model))


def check_killed(command: Command, label: str, *switches: str, last: tuple[str, ...] = ()) -> Path:
    """Train twice with `switches`, once killed and resumed; compare the bits. Returns the folder of the resumed run.

    The switches `last` override those of QUICK.
    """
    names = [word.partition("=")[0] for word in last]
    words = (*switches, *(word for word in QUICK if word.partition("=")[0] not in names), *last)
    whole, killed = (command.folder / "runs" / f"{kind}_{label}" for kind in ("whole", "killed"))
    assert command("train.py", f"name={whole.name}", *words)[0] == 0
    process = command.start("train.py", f"name={killed.name}", *words)
    while not (killed / "checkpoints" / "last.ckpt").exists():  # there is one before each step
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (killed / "metrics.json").exists()
    status, output = command("train.py", f"name={killed.name}", *words)
    assert status == 0, output
    assert "Resuming from" in output
    for name in ("last", "best"):
        one, other = weights(whole, name), weights(killed, name)
        assert all(torch.equal(one[key], other[key]) for key in {**one, **other})
    for file in ("metrics.csv", "metrics.json"):
        assert (whole / file).read_text() == (killed / file).read_text()
    return killed
