"""Values that a class accepts but fails on later are refused before work: one line, status 2, nothing left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning.callbacks
import torch
from conftest import ROOT, Command
from pytorch_lightning import Callback
from starter import SMALL
from test_resume import QUICK

CALLBACKS = "pytorch_lightning.callbacks"


def one(**node: object) -> str:
    """Return the override that adds a callback to those of the config."""
    return (
        "++callbacks.x={"
        + ",".join(f"{key.replace('target', '_target_')}:{value}" for key, value in node.items())
        + "}"
    )


# Overrides for `train.py --check`: part of the message. No data is read.
WITHOUT_DATA = {
    "trainer.max_epochs=-1": "trainer.max_epochs=-1: the schedule model.scheduler needs the number of steps",
    "trainer.max_epochs=-5": "trainer.max_epochs=-5: ",
    "trainer.min_epochs=9999": "trainer.min_epochs=9999: is more than trainer.max_epochs=",
    "trainer.max_epochs=-1 ++trainer.max_time=00:01:00:00": "needs the number of steps",
    "~trainer.max_epochs": "trainer.max_epochs=absent: a run has to end: give it, trainer.max_steps",
    "trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches=0: expected at least 1",
    "trainer.check_val_every_n_epoch=0": "trainer.check_val_every_n_epoch=0: expected at least 1",
    "trainer.check_val_every_n_epoch=99": "nothing is validated, so there is no monitor=val/",
    "trainer.val_check_interval=0": "trainer.val_check_interval=0: expected more than 0",
    "trainer.limit_val_batches=0": "nothing is validated, so there is no monitor=val/",
    "trainer.log_every_n_steps=-1": "expected at least 0",
    "trainer.num_sanity_val_steps=-2": "expected at least -1",
    "trainer.gradient_clip_val=-1": "expected at least 0",
    "trainer.gradient_clip_algorithm=norm": "clips nothing without trainer.gradient_clip_val",
    "trainer.barebones=true": "leaves no run",
    "trainer.max_time=00:00:00:00": "trainer.max_time=0:00:00: nothing would be trained",
    "trainer.accelerator=cpu trainer.devices=64": "trainer.devices=64: are processes here, and this machine has",
    "trainer.accelerator=cpu ++trainer.sync_batchnorm=true": "is for GPUs",
    "trainer.num_nodes=2": "needs the environment variables MASTER_ADDR, MASTER_PORT, NODE_RANK",
    "trainer.strategy=ddp_spawn": "trainer.strategy=ddp_spawn: processes that are started by spawn",
    "trainer.strategy=ddp_notebook": "trainer.strategy=ddp_fork: processes that are started by fork",
    "trainer.strategy=ddp_spawn_find_unused_parameters_true": "processes that are started by spawn",
    "trainer.strategy={_target_:pytorch_lightning.strategies.DDPStrategy,start_method:fork}": "started by fork",
    "trainer.profiler={_target_:pytorch_lightning.callbacks.Timer}": "_target_=Timer: is not a Profiler",
    "trainer.strategy={_target_:pytorch_lightning.strategies.SingleDeviceStrategy,device:meta}": "is the CPU",
    "datamodule.num_workers=500": "datamodule.num_workers=500: are processes, and this machine has",
    "callbacks.checkpoint.dirpath=/proc/x": "/proc is not a folder that can be written to",
    "++logger.x={_target_:torch.nn.Linear,in_features:1,out_features:1}": "torch.nn.Linear: expected a Logger",
    "++logger.x={_target_:pytorch_lightning.loggers.CSVLogger,save_dir:/proc/x}": "/proc is not a folder",
    one(target="torch.nn.Linear", in_features=1, out_features=1): "torch.nn.Linear: expected a Callback",
    one(target=f"{CALLBACKS}.Timer", duration="{seconds:0}"): "callbacks.x.duration=0:00:00: nothing would be trained",
    one(target=f"{CALLBACKS}.EarlyStopping", monitor="val/loss", patience=-1): "patience=-1: expected at least 0",
    one(target=f"{CALLBACKS}.EMAWeightAveraging", update_every_n_steps=0): "expected at least 1",
    one(target=f"{CALLBACKS}.GradientAccumulationScheduler", scheduling="{0:2}")
    + " trainer.accumulate_grad_batches=2": "callbacks.x schedules the accumulation",
}
# The same after the data is read, compared with the number of batches.
WITH_DATA = {
    "trainer.limit_train_batches=2 trainer.val_check_interval=1000": "trainer.val_check_interval=1000: ",
    "trainer.limit_train_batches=0.00001": "trainer.limit_train_batches=",
    "trainer.limit_val_batches=0.00001": "trainer.limit_val_batches=",
    "trainer.limit_test_batches=0.00001": "trainer.limit_test_batches=",
    "trainer.overfit_batches=0.00001": "trainer.overfit_batches=",
    "trainer.limit_train_batches=3 trainer.max_steps=2": "ends after 2 batches, and is first validated after 3",
    "trainer=ddp trainer.accelerator=cpu trainer.devices=2 trainer.use_distributed_sampler=true": "expected false",
}


def assert_refused(words: str, said: str, folder: Path, *flags: str) -> None:
    status, output = Command(folder)("train.py", *flags, *words.split())
    assert status == 2, output
    assert said in output
    assert len(output.strip().splitlines()) == 1
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("words", WITHOUT_DATA)
def test_a_later_failure_is_refused_before_data_is_read(words: str, tmp_path: Path) -> None:
    assert_refused(words, WITHOUT_DATA[words], tmp_path, "--check")


@pytest.mark.parametrize("words", WITH_DATA)
def test_switches_that_do_not_fit_the_data_are_refused_before_the_run_begins(words: str, tmp_path: Path) -> None:
    assert_refused(f"{words} {' '.join(SMALL)}", WITH_DATA[words], tmp_path)


@pytest.mark.parametrize("words", ["trainer=ddp trainer.devices=2", "trainer.devices=2", "trainer.num_nodes=2"])
def test_a_sweep_of_several_processes_is_refused(words: str, tmp_path: Path) -> None:
    status, output = Command(tmp_path)("train.py", "--multirun", "seed=0,1", "trainer.accelerator=cpu", *words.split())
    assert (status, "a sweep trains in one process" in output) == (2, True), output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("key", ["RANK", "LOCAL_RANK", "SLURM_PROCID", "WORLD_SIZE", "MASTER_PORT", "NODE_RANK"])
@pytest.mark.parametrize(("value", "status"), [("", 0), (" ", 0), ("abc", 2), ("-1", 2), ("1.5", 2)])
def test_a_variable_of_a_launcher_is_a_number_or_as_good_as_absent(
    key: str, value: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(key, value)
    ended, output = Command(tmp_path)("train.py", "--help")
    assert ended == status
    assert status == 0 or output == f"{key}={value}: the environment variable is not a whole number; unset it\n"


def test_a_rank_that_the_training_does_not_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning would train as the first process, and the run folder would stay empty."""
    monkeypatch.setenv("RANK", "1")
    assert_refused(
        "name=x trainer.accelerator=cpu", "RANK=1: this training has no process of that rank", tmp_path, "--check"
    )


def test_a_folder_that_cannot_be_written_is_named() -> None:
    if not Path("/proc/self").exists():
        pytest.skip("Linux has a folder in which root can't write either")
    status, output = Command(Path("/proc"))("train.py")
    assert (status, len(output.splitlines())) == (2, 1), output
    assert output.startswith("runs/: /proc is not a folder that can be written to")


def test_matplotlib_does_not_speak_first(tmp_path: Path) -> None:
    """No output about the fonts that it looks for on a first run, or a cache that it can't write."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "--check"],
        cwd=tmp_path,
        env={**os.environ, "MPLCONFIGDIR": "/dev/null/none"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout.splitlines()[0][:20], done.stderr) == ("The command is valid", "")


# Lightning's callbacks: the arguments that they need, or part of the refusal.
ARGUMENTS = {
    "DeviceStatsMonitor": {"cpu_stats": "true"},
    "EarlyStopping": {"monitor": "val/loss"},
    "GradientAccumulationScheduler": {"scheduling": "{0:2}"},
    "Timer": {"duration": "00:01:00:00"},
}
REFUSED = {
    "BackboneFinetuning": "adds parameters to the optimizer during training",
    "BatchSizeFinder": "chooses a size that is not in the config",
    "LearningRateFinder": "chooses a rate that is not in the config",
    "ModelPruning": "leaves its masks out of checkpoints",
    "OnExceptionCheckpoint": "last.ckpt is always written",
    "SpikeDetection": "can't take back the state that it saves",
    "StochasticWeightAveraging": "averages after the best checkpoint is saved",
    "ThroughputMonitor": "batch_size_fn",  # a function, which a config can't hold
}
BASES = ("BaseFinetuning", "BasePredictionWriter", "Callback", "Checkpoint", "ProgressBar")
REFUSED |= dict.fromkeys(BASES, "not allowed: it comes from pytorch_lightning.callbacks")  # base classes
NEEDS = {
    "ModelPruning": {"pruning_fn": "l1_unstructured"},
    "OnExceptionCheckpoint": {"dirpath": "."},
    "StochasticWeightAveraging": {"swa_lrs": 0.01},
}
# Two trainings, because each takes one progress bar and one summary.
FIRST = (
    "DeviceStatsMonitor",
    "EarlyStopping",
    "GradientAccumulationScheduler",
    "LambdaCallback",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "ModelSummary",
    "TQDMProgressBar",
    "Timer",
)
SECOND = ("EMAWeightAveraging", "RichModelSummary", "RichProgressBar")


def test_each_callback_of_lightning_is_run_or_refused_here() -> None:
    every = {
        name
        for name in pytorch_lightning.callbacks.__all__
        if issubclass(getattr(pytorch_lightning.callbacks, name), Callback)
    }
    assert every == {*REFUSED, *FIRST, *SECOND, "WeightAveraging"}  # the base of EMAWeightAveraging


@pytest.mark.parametrize("name", REFUSED)
def test_a_callback_that_breaks_exact_resuming_is_refused(name: str, tmp_path: Path) -> None:
    assert_refused(one(target=f"{CALLBACKS}.{name}", **NEEDS.get(name, {})), REFUSED[name], tmp_path, "--check")


@pytest.mark.parametrize("names", [FIRST, SECOND])
def test_the_other_callbacks_of_lightning_train_and_resume(names: tuple[str, ...], tmp_path: Path) -> None:
    """All at once: stopped by a signal in the second epoch, and resumed to the same weights."""
    if any(name.startswith("Rich") for name in names):
        pytest.importorskip("rich", reason="rich is not installed")
    from my_project.engine.training import resume as exact

    words = [
        f"++callbacks.{name}={{_target_:{CALLBACKS}.{name}"
        + "".join(f",{key}:{value}" for key, value in ARGUMENTS.get(name, {}).items())
        + "}"
        for name in names
    ]
    command = Command(tmp_path)
    status, output = command("train.py", "name=whole", *QUICK, *words)
    assert status == 0, output
    steps = 0

    def stops(*hook: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 9:
            exact.stopping.received = 15

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact.ExactResume, "on_train_batch_end", stops, raising=False)
        assert command("train.py", "name=stopped", *QUICK, *words)[0] == 143
    status, output = command("train.py", "name=stopped", *QUICK, *words)
    assert status == 0, output
    one, other = (
        torch.load(tmp_path / "runs" / run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in ("whole", "stopped")
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_schedule_that_ends_before_the_training_is_refused_when_it_resumes() -> None:
    """OneCycleLR takes its number of steps from the checkpoint, and would raise in the middle of training."""
    from my_project.engine.errors import RefusedError
    from my_project.engine.training import trial

    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    checkpoint = {"optimizer_states": [optimizer.state_dict()], "lr_schedulers": [schedule.state_dict()]}
    trial.check_states(trial.Trial(10, [optimizer], [schedule]), checkpoint, "x")
    with pytest.raises(RefusedError, match="its schedule ends after 10 steps, and this training takes 11"):
        trial.check_states(trial.Trial(11, [optimizer], [schedule]), checkpoint, "x")
    other = torch.optim.Adam([weight])
    with pytest.raises(RefusedError, match="the saved optimizer is another one, without"):
        trial.check_states(trial.Trial(10, [other], [schedule]), checkpoint, "x")


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    from disk import small_disk_at

    from my_project.engine.files import write_text

    with small_disk_at(tmp_path / "disk", "64k") as disk:
        with pytest.raises(OSError, match="No space left"):
            write_text(disk / "config.yaml", "x" * 200_000)
        assert list(disk.iterdir()) == []
