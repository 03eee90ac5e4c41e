"""Real trainings, killed by SIGKILL at random moments and resumed, end bit-identical to an uninterrupted one.

make chaos KILLS=200 [SEED=7]
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, with_engine_tests
from cookiecutter.main import cookiecutter

KILLS = int(os.environ.get("CHAOS_KILLS", "27"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1, 10**6)
# All have shuffling, augmentation and dropout. An epoch trains for half a second, with a save every tenth of that.
BASE = (
    "trainer.max_epochs=4", "trainer.limit_train_batches=15", "trainer.limit_val_batches=3", "callbacks=[default]",
    "trainer.accelerator=cpu", "save_minutes=0.001",
)  # fmt: skip
AUGMENT = [
    "{_target_:kornia.augmentation.auto.RandAugment,n:2,m:10}",
    "{_target_:kornia.augmentation.RandomErasing,p:0.5}",
    "{_target_:kornia.augmentation.RandomGaussianNoise,std:0.1}",
]
SWITCHES = {
    "defaults": ("callbacks=[default,report]",),
    "mlp": ("model=mlp",),
    "two workers": ("datamodule.num_workers=2", "trainer.max_epochs=2"),
    "balanced classes": ("datamodule.balance=true", "model.class_weights=balanced"),
    "accumulated gradients": ("trainer.accumulate_grad_batches=4",),
    "validation within the epoch": ("trainer.val_check_interval=0.4",),
    "plateau": (
        "model.scheduler._target_=my_project.models.optimization.plateau", "~model.scheduler.warmup",
        "~model.scheduler.floor", "model.scheduler.patience=0", "model.optimizer.lr=0.05",
    ),
    "early stopping": (
        "callbacks=[default,early_stopping]", "trainer.max_epochs=20", "callbacks.early_stopping.min_delta=0.7",
        "callbacks.early_stopping.patience=2",
    ),
    "augmentation": ("++model.mixup=0.2", "++datamodule.flip=true", f"++datamodule.augment=[{', '.join(AUGMENT)}]"),
    "average of the weights, rows within the epoch": (
        "callbacks=[default,ema]",
        "++callbacks.lr={_target_:pytorch_lightning.callbacks.LearningRateMonitor,logging_interval:step}",
        "trainer.log_every_n_steps=4",
    ),
    "steps in place of epochs": ("trainer.max_epochs=-1", "trainer.max_steps=50", "trainer.gradient_clip_val=1.0"),
}  # fmt: skip

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, user_config: Path) -> Any:
    """The module killed.py, beside the tests of a rendered project."""
    out = tmp_path_factory.mktemp("chaos")
    made = cookiecutter(str(ROOT), no_input=True, output_dir=str(out), config_file=str(user_config))
    with_engine_tests(Path(made))
    sys.path[:0] = [made, f"{made}/tests"]
    import killed

    return killed


@pytest.mark.parametrize("switch", SWITCHES)
def test_killed_at_random_it_ends_in_the_same_bits(switch: str, killed: Any, tmp_path: Path) -> None:
    rng = random.Random(f"{SEED} {switch}")
    words = (*BASE, *SWITCHES[switch])
    killed.train(tmp_path, *words, "name=warm", at=killed.At(killed.STEP))  # the first run waits for imports
    begun = time.monotonic()
    status, said = killed.train(tmp_path, *words, "name=undisturbed")
    longest = time.monotonic() - begun
    assert status == 0, said
    undisturbed = killed.final_state(tmp_path / "runs" / "undisturbed")
    kills, runs, moments = 0, 0, []
    while kills < max(3, KILLS // len(SWITCHES)):
        runs += 1
        for _ in range(4):  # in one run
            moments.append(rng.uniform(0, longest))
            process = killed.start(tmp_path, *words, f"name=run{runs}")
            time.sleep(moments[-1])
            process.kill()
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL), (tmp_path / "said.txt").read_text()
            kills += process.exitcode != 0
            if process.exitcode == 0:
                break
        else:
            status, said = killed.train(tmp_path, *words, f"name=run{runs}")
            assert status == 0, said
        differing = killed.differences(undisturbed, killed.final_state(tmp_path / "runs" / f"run{runs}"))
        assert differing == [], f"SEED={SEED}, run{runs}, killed at {moments}: {differing[:5]}"
    print(f"SEED={SEED} {switch}: {kills} kills in {runs} runs, all the same bits")


def test_two_processes_that_train_together_resume_exactly(killed: Any, tmp_path: Path) -> None:
    """SIGKILL to both, then SIGTERM to the first only; a checkpoint gathers the metrics of both."""
    words = ("trainer=ddp", "trainer.devices=2", *BASE, "trainer.max_epochs=2")

    def start(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(killed.ROOT / "train.py"), *words, f"name={name}"]
        said = (tmp_path / f"{name}.txt").open("ab")
        return subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said, start_new_session=True)

    def stopped_at_a_row(name: str, send: Callable[[int], None]) -> int:
        process, rows = start(name), tmp_path / "runs" / name / "metrics.csv"
        while not (rows.exists() and len(rows.read_text().splitlines()) > 1):
            assert process.poll() is None, (tmp_path / f"{name}.txt").read_text()
            time.sleep(0.01)
        send(process.pid)
        return process.wait()

    assert start("undisturbed").wait() == 0, (tmp_path / "undisturbed.txt").read_text()
    assert stopped_at_a_row("killed", lambda pid: os.killpg(pid, signal.SIGKILL)) == -signal.SIGKILL
    assert stopped_at_a_row("stopped", lambda pid: os.kill(pid, signal.SIGTERM)) == 128 + signal.SIGTERM
    for name in ("killed", "stopped"):
        assert start(name).wait() == 0, (tmp_path / f"{name}.txt").read_text()
        states = [killed.final_state(tmp_path / "runs" / run) for run in ("undisturbed", name)]
        assert killed.differences(*states) == [], name
