"""Choice of the best checkpoint: the direction follows from the metric, and a contradiction is refused."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import NO_LOGGER, Command, copy_of_project, target
from omegaconf import OmegaConf
from test_resume import QUICK

from my_project.engine.config.monitor import check_monitors, direction, logged_by
from my_project.engine.errors import RefusedError

MODULE, MODEL = target("model")
LOGGED = {"val/loss": "min", "val/*": "min", "val/f1/*": "max", "val/coverage": None}


@pytest.mark.parametrize(
    ("metric", "mode"),
    [("val/loss", "min"), ("val/mae", "min"), ("val/f1/cat", "max")],
)
def test_the_pattern_that_says_most_gives_the_direction(metric: str, mode: str) -> None:
    assert direction("monitor", metric, LOGGED, "my.Model") == mode


@pytest.mark.parametrize("metric", ["val/coverage", "val/f1/*", "val/f1/", "val/", "*", "", "train/loss"])
def test_what_can_t_be_the_best_is_refused(metric: str) -> None:
    with pytest.raises(RefusedError, match=r"^monitor(=|: )"):
        direction("monitor", metric, LOGGED, "my.Model")


def test_every_metric_of_the_starter_has_a_direction() -> None:
    logged = logged_by(f"{MODULE}.{MODEL}")
    assert logged is not None
    assert set(logged.values()) <= {"min", "max", None}
    ways = {"loss": "min", "rmse": "min", "mae": "min", "mase": "min", "r2": "max", "accuracy": "max", "psnr": "max"}
    assert all(mode in (ways[name], None) for key, mode in logged.items() if (name := key.rpartition("/")[2]) in ways)


def test_a_callback_of_one_s_own_is_asked_for_its_default_direction() -> None:
    from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

    switches = {"monitor": "val/loss", "mode": "min"}
    callbacks = {"callbacks.a": ModelCheckpoint(monitor="step", mode="max"), "callbacks.b": EarlyStopping("val/f1/cat")}
    with pytest.raises(RefusedError, match=r"callbacks.b.mode=min: val/f1/cat is better the higher"):
        check_monitors(switches, callbacks, LOGGED, "my.Model")
    callbacks = {"callbacks.c": EarlyStopping("step")}
    with pytest.raises(RefusedError, match=r"callbacks.c.monitor=step"):
        check_monitors(switches, callbacks, LOGGED, "my.Model")


def test_best_is_the_validation_of_the_checkpoint_also_within_an_epoch(command: Command) -> None:
    """Lightning counts a step only after the validation that follows it."""
    words = ("callbacks=[default]", "callbacks.checkpoint.save_on_train_epoch_end=false", "trainer.max_epochs=3")
    status, said = command("train.py", "name=within", *QUICK, *words, "trainer.val_check_interval=0.5")
    assert status == 0, said
    run = command.folder / "runs" / "within"
    states = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["callbacks"]
    best = next(state["best_model_score"] for name, state in states.items() if name.startswith("ModelCheckpoint"))
    assert json.loads((run / "metrics.json").read_text())["val"]["loss"] == pytest.approx(float(best))


def test_the_best_checkpoint_is_that_of_the_highest_accuracy(command: Command) -> None:
    quick = ("callbacks=[default]", "trainer.max_epochs=3", "trainer.limit_train_batches=4", *NO_LOGGER)
    status, output = command("train.py", "name=best", "monitor=val/accuracy", *quick)
    assert status == 0, output
    run = command.folder / "runs" / "best"
    rows = [row for row in csv.DictReader((run / "metrics.csv").open()) if row["val/accuracy"]]
    scores = [float(row["val/accuracy"]) for row in rows]
    assert len(set(scores)) > 1, "no epoch is better than another"
    saved: dict[str, Any] = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["epoch"] == scores.index(max(scores))
    assert f"Best val/accuracy {max(scores):.4f}" in output
    cfg = OmegaConf.load(run / "config.yaml")
    assert (cfg.mode, cfg.callbacks.checkpoint.mode) == ("max", "max")


@pytest.mark.parametrize(
    "words",
    [
        ("monitor=val/f1/cat",),
        ("monitor=val/f1/11",),
        ("callbacks.own={_target_:pytorch_lightning.callbacks.EarlyStopping,monitor:val/f1/cat,mode:max}",),
    ],
)
def test_a_class_that_the_data_has_not_is_refused_before_training(words: tuple[str, ...], tmp_path: Path) -> None:
    status, output = Command(tmp_path)("train.py", *words)
    assert (status, len(output.strip().splitlines())) == (2, 1), output
    assert "Classifier logs" in output
    assert list(tmp_path.iterdir()) == []


OWN = f"""
from typing import ClassVar

from pytorch_lightning import LightningModule
from torch.optim.lr_scheduler import ReduceLROnPlateau

from my_project.engine import target
from {MODULE} import {MODEL}


class Undeclared({MODEL}):
    logged = dict([("val/loss", "min")])


class Names({MODEL}):
    logged = ("val/loss", "val/accuracy")


class Typed({MODEL}):
    logged: ClassVar[dict[str, str]] = {{"val/loss": "min", "val/accuracy": "max"}}


class Wrong({MODEL}):
    logged = {{"val/loss": "least"}}


@target
def plateau(optimizer, total_steps, mode="min"):
    return ReduceLROnPlateau(optimizer, mode=mode)
"""
CASES = {
    # overrides: the message, or the mode that the config has
    "model._target_=my_project.models.own.Undeclared": "mode=null: has to be given for val/loss: mode=min or mode=max",
    "model._target_=my_project.models.own.Undeclared mode=min": "min",
    "model._target_=my_project.models.own.Names monitor=val/accuracy": "Names declares it: logged = {'val/accuracy'",
    "model._target_=my_project.models.own.Names monitor=val/accuracy mode=max": "max",
    "model._target_=my_project.models.own.Names monitor=val/nope mode=max": "did you mean",
    "model._target_=my_project.models.own.Typed monitor=val/accuracy": "max",
    "model._target_=my_project.models.own.Wrong": "logged['val/loss'] is 'least'; expected 'min', 'max' or None",
    f"model._target_={MODULE}.{MODEL} monitor=val/macro_f1": "max",
}


def test_a_model_of_one_s_own_declares_the_direction_or_it_is_given(tmp_path: Path) -> None:
    copy = copy_of_project(tmp_path / "copy")
    (copy / "my_project" / "models" / "own.py").write_text(OWN, encoding="utf-8")
    program = f"""
import sys
sys.path.insert(0, {str(copy)!r})
from pathlib import Path
from my_project.engine.errors import RefusedError
from my_project.engine.cli import command, requests as runs
for words, said in {CASES!r}.items():
    words = [command._hydra_override(word, Path({str(copy)!r}) / "configs") for word in words.split()]
    cfg = command.compose_config(Path({str(copy)!r}) / "configs", "train", words)
    try:
        runs.check_training(cfg)
        answer = cfg.mode
    except RefusedError as error:
        answer = str(error)
    assert answer == said or (said not in ("min", "max") and said in answer), (words, answer)
assert "torch" not in sys.modules
from my_project.engine.training.train import build_datamodule, build_model
from my_project.engine.training.trial import try_loops
plateau = "++model.scheduler={{_target_:my_project.models.own.plateau,mode:max}}"
cfg = command.compose_config(Path({str(copy)!r}) / "configs", "train", ["~model.scheduler", plateau, "mode=min"])
datamodule = build_datamodule(cfg)
try:
    try_loops(cfg, build_model(cfg, datamodule), datamodule)
except RefusedError as error:
    assert "model.scheduler.mode=max: val/loss is better the lower it is; model.scheduler.mode=min" in str(error)
else:
    raise AssertionError("not refused")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-1500:]
