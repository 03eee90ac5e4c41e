"""Commands that can't run are refused before work: one line, exit status 2, nothing left, and no wait for torch."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import pytest
from conftest import ROOT, Command, chosen, options, target
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from my_project.engine.arguments import Given
from my_project.engine.cli import explain
from my_project.engine.config.check import check_node, facts_of
from my_project.engine.config.files import Override
from my_project.engine.config.targets import Place
from my_project.engine.config.values import check_value
from my_project.engine.errors import RefusedError

FACT = min(facts_of({"_target_": ".".join(target("datamodule"))}) or ("no_fact",))
REFUSED = {
    # command line: part of the message
    "train.py trainer.max_stepss=1": "trainer.max_stepss=1: Trainer takes no max_stepss; did you mean max_steps",
    "train.py +trainer.max_stepss=1": "Trainer takes no max_stepss; did you mean max_steps",
    "train.py model.optimizer.lrr=1": "AdamW takes no lrr; did you mean lr?",
    "train.py modle=x": "modle=x: no such key; did you mean mode or model?",
    "train.py +nothing=1": "nothing=1: no such key",
    "train.py trainer=gppu": "trainer=gppu: expected ddp, debug, default, gpu; did you mean gpu?",
    "train.py callbacks=[defalt]": "did you mean default?",
    "train.py name=fünf": "name=fünf: can't be parsed; quote the value: \"name='fünf'\"",
    "train.py trainer=null": "names no _target_; choose a file of configs/trainer/",
    "train.py trainer._partial_=true": "trainer._partial_=true: expected _target_ or an argument",
    "train.py callbacks.checkpoint.train_time_interval=PT5M": "expected an object",
    "train.py model.optimizer._target_=torch.optim.RMSprop": "RMSprop takes no fused; ~model.optimizer.fused leaves it",
    "train.py model.network._target_=torch.utils.data.DataLoader": "not allowed",
    "train.py model.optimizer.lr=abc": "model.optimizer.lr=abc: expected a number",
    "train.py model.optimizer.lr=-1": "model.optimizer.lr=-1: Invalid learning rate: -1",
    "train.py trainer.max_epochs=1.5": "trainer.max_epochs=1.5: expected an integer",
    "train.py trainer.max_epochs='5'": "trainer.max_epochs=5: expected an integer",
    "train.py trainer.precision=fp7": "trainer.precision=fp7: expected 64, 32 or 16 or",
    "train.py trainer.accelerator=abacus": "trainer.accelerator=abacus: ",
    "train.py datamodule.batch_size=-4": "datamodule.batch_size=-4: expected a value greater than or equal to 1",
    "train.py datamodule.batch_size=null": "datamodule.batch_size=null: expected an integer",
    "train.py model.optimizer.lr=inf": "model.optimizer.lr=inf: expected a finite number",
    "train.py seed=-1": "seed=-1: expected a value greater than or equal to 0",
    "train.py mode=least": "mode=least: expected 'min' or 'max'",
    "train.py seed=???": "seed=???: has to be given",
    "train.py seed=${sede}": "seed=${sede}: Interpolation key 'sede' not found; did you mean seed?",
    "train.py monitor=val/los": "did you mean val/loss",
    "train.py callbacks.checkpoint.monitor=val/los": "did you mean val/loss",
    "train.py model.optimizer._target_=torch.optim.AdamWW": "no AdamWW in torch.optim; did you mean torch.optim.AdamW",
    "train.py model.optimizer._target_=os.system": "not allowed",
    "train.py model.optimizer._target_=torch.nn.init.ones_": "not allowed: expected a class",
    "train.py model._target_=torch.load": "not allowed",
    "train.py model._target_=my_project.engine.config.build.import_target": "not allowed: it comes from",
    f"train.py model._target_={target('model')[0]}.build": "not allowed: it comes from",
    "train.py trainer._target_=pytorch_lightning.Trainer.fit": "is not a module",
    "train.py ~model.optimizer._target_": "names no _target_",
    "train.py ~trainer": "trainer={…}: names no _target_; choose a file of configs/trainer/",
    "train.py +trainer.logger=true": "trainer.logger=true: is given by the code",
    "train.py trainer.default_root_dir=x": "trainer.default_root_dir=x: is given by the code",
    "train.py lr=0.1": "lr=0.1: no such key; did you mean model.optimizer.lr?",
    "train.py model.lr=0.1": "takes no lr; did you mean model.optimizer.lr?",
    "train.py callbacks.checkpoint.dirpath=/dev/null/x": "/dev/null is not a folder that can be written to",
    "train.py +trainer._convert_=none": "expected _target_ or an argument",
    "train.py name=a/b": "a run name is a folder name",
    "train.py name=con": "a run name is a folder name",
    "train.py name='a;b'": "a run name is a folder name",
    "train.py name=2024": "expected text with a letter, such as name=run2024",
    "train.py --multirun name=x seed=0,1": "name=x: a sweep makes several runs; leave the name out",
    "train.py trainer.fast_dev_run=true": "trainer.fast_dev_run=true: leaves no run; trainer=debug",
    "train.py trainer.max_epochs=0": "trainer.max_epochs=0: nothing would be trained",
    "train.py callbacks.checkpoint.save_last=true": "last.ckpt is always written: save_minutes=",
    "train.py callbacks.checkpoint.filename=last": "callbacks.checkpoint.filename=last: is the engine's own",
    "train.py callbacks.checkpoint.filename=a/b": "filename=a/b: expected a file name, without a folder",
    "train.py patience=3": "did you mean callbacks=[default,early_stopping] callbacks.early_stopping.patience=3?",
    "train.py runs/w": "runs/w: expected key=value\n",
    "evaluate.py runs/w": "runs/w: expected key=value; did you mean run=runs/w?",
    "predict.py runs/w": "runs/w: expected key=value; did you mean run=runs/w?",
    "predict.py run=runs/w mine": "mine: expected key=value; did you mean input=mine?",
    "train.py callbacks.checkpoint.save_top_k=2": "best.ckpt would not be the best",
    "train.py save_minutes=-1": "save_minutes=-1: expected a value greater than or equal to 0",
    "train.py rerun=7": "rerun=7: no run folder",
    "train.py name=???": "name=???: has to be given: name=…",
    "train.py ~resume": "resume: is missing; expected a value, or null",
    "train.py resume=maybe": "resume=maybe: expected 'exact' or 'inexact'",
    "train.py init_from=runs/none": "init_from=runs/none: no run folder",
    "train.py --fast": "unrecognized arguments: --fast",
    "train.py seed=[": "seed=[",
    "train.py seed=1,2": "To sweep over it, add --multirun",
    "train.py --check trainer.strategy=dddp": "trainer.strategy=dddp: ",
    "evaluate.py": "run=???: no run folder",
    "evaluate.py run=none": "run=none: no run folder",
    "train.py trainer.devices=[1,${nope}]": "trainer.devices[1]=${nope}: Interpolation key 'nope' not found",
    "train.py init_from=${trainer}": "}: expected a string",
    "predict.py run=none inptu=x": "inptu=x: no such key; did you mean input?",
    # a common name for a key, or a key of another group
    "train.py epochs=5": "epochs=5: no such key; did you mean trainer.max_epochs?",
    "train.py optimizer.lr=0.1": "optimizer.lr=0.1: no such key; did you mean model.optimizer.lr?",
    "train.py optimizer.learning_rate=0.1": "did you mean model.optimizer.lr?",
    "train.py optimizer._target_=torch.optim.SGD": "did you mean model.optimizer._target_?",
    "train.py learning_rate=0.1": "did you mean model.optimizer.lr?",
    "train.py batch_size=8": "did you mean datamodule.batch_size?",
    "train.py gpus=2": "did you mean trainer.devices?",
    "train.py max_epoch=2": "did you mean trainer.max_epochs?",
    "train.py accumulate_grad_batches=2": "did you mean trainer.accumulate_grad_batches?",
    "train.py dataset=digits": "did you mean datamodule?",
    "train.py trainer.batch_size=8": "Trainer takes no batch_size; did you mean datamodule.batch_size?",
    "train.py trainer.epochs=8": "did you mean max_epochs?",
    "train.py ema.decay=0.9": "it is an option of a group: callbacks=[default,ema]",
    "train.py debug=true": "it is an option of a group: trainer=debug",
    f"train.py {FACT}=3": f"{FACT}=3: is given by the data, not by the config",
    "train.py --epochs 5": "--epochs: no such option; a key is given without dashes: trainer.max_epochs=5",
    "train.py --lr=0.1": "--lr=0.1: no such option; a key is given without dashes: model.optimizer.lr=0.1",
    "train.py --batch-size 4": "a key is given without dashes: datamodule.batch_size=4",
    "train.py --seed 4": "a key is given without dashes: seed=4",
    "train.py --exp x": "unrecognized arguments: --exp",
    "train.py --experimental-rerun x": "rerun=runs/<name> trains a finished run again",
    # output only, without work
    "train.py --cfg job nope=1": "nope=1: no such key",
    "train.py nope=1 --cfg job --resolve": "nope=1: no such key",
    "train.py --cfg all trainer.nope=1": "Trainer takes no nope",
    "train.py --info all nope=1": "nope=1: no such key",
    "train.py --cfg job --package trainr": "--package=trainr: no such part of the config; did you mean trainer",
    "evaluate.py --cfg job nope=1": "nope=1: no such key",
    # sweeps: each run is checked before the first begins
    "train.py -m seed=0,1 nope=1": "nope=1: no such key",
    "train.py trainer=debug --multirun seed=0,1 trainer.max_epochs=2,0": "trainer.max_epochs=0: nothing would be",
    "train.py -m seed=0,x": "seed=x: expected an integer",
    "train.py -m trainer=default,gppu": "trainer=gppu: expected ddp",
    "train.py -m hydra/sweeper=optuna seed=0,1": "hydra/sweeper=optuna: chooses by what a run returns",
    "train.py -m hydra/launcher=joblib seed=0,1": "is not installed: ",
    "train.py -m hydra/launcher=nope seed=0,1": "hydra/launcher=nope: expected basic",
    # the metric to monitor, and its direction
    "train.py monitor=val/loss mode=max": "mode=max: val/loss is better the lower it is; leave mode out",
    "train.py monitor=val/": "monitor=val/: ",
    "train.py monitor=val/*": "monitor=val/*: names no single metric",
    "train.py monitor=null": "monitor=null: expected a string",
    "train.py monitor=val/loss callbacks.checkpoint.mode=max": "callbacks.checkpoint.mode=max: val/loss is better the",
    "train.py callbacks.checkpoint.monitor=train/loss": "best.ckpt is the best ",
    "train.py callbacks.checkpoint.monitor=null": "best.ckpt is the best ",
    "train.py callbacks.checkpoint.save_on_train_epoch_end=false monitor=train/loss": "not known yet at a",
    # a class of the wrong kind for its group, or an abstract one
    "train.py callbacks.own={_target_:torch.nn.Identity}": "_target_=torch.nn.Identity: expected a Callback",
    "train.py callbacks.own={_target_:datetime.timedelta,minutes:5}": "expected a Callback",
    "train.py logger={own:{_target_:torch.nn.Identity}}": "logger.own._target_=torch.nn.Identity: expected a Logger",
    "train.py model._target_=torch.nn.Linear": "model._target_=torch.nn.Linear: expected a LightningModule",
    "train.py datamodule._target_=torch.nn.Identity": "expected a LightningDataModule",
    "train.py trainer._target_=torch.nn.Identity": "expected a Trainer",
    "train.py datamodule._target_=my_project.datamodules.base.TensorDataModule": "to a class that inherits",
    "train.py callbacks.own={_target_:pytorch_lightning.callbacks.BaseFinetuning}": "not allowed",
    "train.py model.optimizer._partial_=true": "model.optimizer._partial_=true: expected _target_ or an argument",
    "train.py callbacks.own={_target_:pytorch_lightning.callbacks.EMAWeightAveraging,nope:1}": "callbacks.own.nope=1: ",
}


HEAVY = ["torch", "pytorch_lightning", "torchmetrics", "numpy", "sklearn", "matplotlib"]
NEEDS_TORCH = ("lr=-1", "abacus", "dddp", "--check")  # these build the object
SHOWN = ("train.py --help", "evaluate.py --help", "predict.py --help", "train.py --cfg job")
# For each line: exit status, output, files left in its folder, and slow imports.
PROGRAM = """
import contextlib, io, json, os, runpy, sys
root, folder, heavy = sys.argv[1], os.getcwd(), set(sys.argv[2:])
sys.path.insert(0, root)
said = {}
for number, line in enumerate(json.load(sys.stdin)):
    os.mkdir(f"{folder}/{number}")
    os.chdir(f"{folder}/{number}")
    sys.argv = [os.path.join(root, line.split()[0]), *line.split()[1:]]
    output, status = io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as stop:
            status = stop.code or 0
    said[line] = status, output.getvalue(), os.listdir(), sorted(heavy.intersection(sys.modules))
json.dump(said, sys.stdout)
"""
Answer = tuple[int, str, list[str], list[str]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """Help, the config, and each refusal that needs no object, from one process that does not need torch."""
    lines = [*(line for line in REFUSED if not any(word in line for word in NEEDS_TORCH)), *SHOWN]
    words = [sys.executable, "-c", PROGRAM, str(ROOT), *HEAVY]
    folder = tmp_path_factory.mktemp("answers")
    done = subprocess.run(words, input=json.dumps(lines), capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("line", REFUSED)
def test_refused_in_one_line_that_names_key_value_and_remedy(
    line: str, answers: dict[str, Answer], tmp_path: Path
) -> None:
    if line in answers:
        status, output, left, imported = answers[line]
        assert imported == []
    else:
        status, output = Command(tmp_path)(*line.split())
        left = [path.name for path in tmp_path.iterdir()]
    assert status == 2
    assert REFUSED[line] in output
    assert len(output.strip().splitlines()) == 1
    assert left == []


@pytest.mark.parametrize("line", SHOWN)
def test_what_is_only_shown_comes_without_torch(line: str, answers: dict[str, Answer]) -> None:
    status, output, left, imported = answers[line]
    assert (status, left, imported) == (0, [], [])
    assert len(output.splitlines()) > 5


@pytest.mark.parametrize(
    ("logger", "argument", "said"),
    [
        ("TensorBoardLogger", "max_queue", ""),
        ("TensorBoardLogger", "max_queu", "did you mean max_queue?"),
        ("WandbLogger", "tags", ""),
        ("WandbLogger", "tag", "did you mean tags?"),
    ],
)
def test_what_a_logger_passes_on_late_is_checked_now(logger: str, argument: str, said: str) -> None:
    pytest.importorskip({"TensorBoardLogger": "tensorboard", "WandbLogger": "wandb"}[logger])
    node = {"_target_": f"pytorch_lightning.loggers.{logger}", "save_dir": "x", argument: [1]}
    with nullcontext() if not said else pytest.raises(RefusedError, match=re.escape(said)):
        list(check_node("logger.own", node, Given(), Place.OWN))


def test_a_sweep_leaves_its_runs_alone(tmp_path: Path) -> None:
    """Flags may stand between overrides; Hydra's multirun.yaml is not kept."""
    quick = ("callbacks=[default]", "trainer.limit_train_batches=1", "trainer.limit_test_batches=1")
    words = ("trainer=debug", "--multirun", "seed=0,1", *quick, "trainer.enable_progress_bar=false")
    status, output = Command(tmp_path)("train.py", *words)
    assert status == 0, output
    assert {path.name for path in tmp_path.iterdir()} - {"mlflow.db"} == {"runs"}  # written by the logger
    assert len([*tmp_path.glob("runs/*/metrics.json")]) == 2


@pytest.mark.parametrize("words", ["", "name=x", "--multirun seed=0,1"])
def test_a_folder_that_can_t_be_written_is_named(words: str, tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "nowhere")  # not writable even for root
    status, output = Command(tmp_path)("train.py", *words.split())
    assert (status, len(output.strip().splitlines())) == (2, 1), output
    assert "runs" in output
    assert "is not a folder that can be written to" in output


@pytest.mark.parametrize("value", [2.0, 1.0, True])
def test_a_choice_of_whole_numbers_takes_no_other_kind(value: float) -> None:
    """Literal[2] would take 2.0, which is not a size."""
    for type_ in (Literal[1, 2], Literal[1, 2] | None):
        with pytest.raises(RefusedError, match=r"^datamodule.scale=(2.0|1.0|true): expected "):
            check_value("datamodule.scale", value, type_)
        check_value("datamodule.scale", 2, type_)
    check_value("model.optimizer.lr", 2, float)
    check_value("trainer.limit_val_batches", 1.0, int | float | None)
    check_value("trainer.limit_val_batches", 1, int | float | None)


def test_a_check_by_hand_makes_nothing(tmp_path: Path) -> None:
    status, output = Command(tmp_path)("train.py", "--check", "trainer.limit_train_batches=3")
    assert status == 0, output
    assert output.startswith("The command is valid")
    assert list(tmp_path.iterdir()) == []


def test_the_traceback_of_a_refusal_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    status, output = Command(tmp_path)("train.py", "--traceback", "trainer.max_stepss=1")
    assert status == 2
    assert output.startswith("Traceback (most recent call last)")
    assert output.strip().splitlines()[-1].startswith("trainer.max_stepss=1: Trainer takes no max_stepss")


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("trainer/default.yaml", "devices: 1", "devices: [a]", "(configs/trainer/default.yaml:5)"),
        (
            "trainer/default.yaml",
            "log_every_n_steps",
            "log_every",
            "Trainer takes no log_every; did you mean log_every_n",
        ),
        ("callbacks/default.yaml", "filename: best", "filename: 7", "(configs/callbacks/default.yaml:6)"),
        ("train.yaml", "mode: null", "mode: least", "(configs/train.yaml:"),
        ("train.yaml", "mode: null", "mode: [min", "train.yaml"),
        ("train.yaml", "defaults:", "efaults:", "choose a file of configs/"),
    ],
)
def test_the_file_that_is_to_blame_is_named(file: str, old: str, new: str, said: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copy(ROOT / "train.py", tmp_path)
    path = tmp_path / "configs" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    status, output = Command(tmp_path, root=tmp_path)("train.py")
    assert status == 2
    assert said in output
    assert len(output.strip().splitlines()) == 1


HEADERS = {
    "# @package _global_": 0, "\n#@package _global_": 0, "# About.\n# @package _global_": 2, "": 2,
    "# @package _global": 2, "# @package: _global_": 2, "# @package _group_": 2,
}  # fmt: skip


@pytest.mark.parametrize(("header", "status"), HEADERS.items())
def test_an_experiment_whose_keys_set_nothing_is_refused(header: str, status: int, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copy(ROOT / "train.py", tmp_path)
    path = tmp_path / "configs" / "experiment" / "own.yaml"
    path.write_text(f"{header}\ntrainer:\n  max_epochs: 3\n", encoding="utf-8")
    for words in (("--cfg", "job"), ("--check",)):
        ended, output = Command(tmp_path, root=tmp_path)("train.py", "experiment=own", *words)
        assert ended == status, output
        if status == 2:
            said = "configs/experiment/own.yaml: expected `# @package _global_` as its first line; else its keys set"
            assert (said in output, len(output.strip().splitlines())) == (True, 1), output


def test_a_file_of_a_group_that_was_not_chosen_is_not_to_blame(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copy(ROOT / "train.py", tmp_path)
    path = tmp_path / "configs" / "callbacks" / "default.yaml"
    text = path.read_text(encoding="utf-8").replace("filename: best", "filename: 7")
    for name in ("another", "default", "yet_another"):
        path.with_stem(name).write_text(text, encoding="utf-8")
    for words in ((), ("callbacks=[default]",)):
        status, output = Command(tmp_path, root=tmp_path)("train.py", *words)
        assert (status, "(configs/callbacks/default.yaml:6)" in output) == (2, True), output


def test_no_file_is_to_blame_for_what_the_config_of_a_run_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        HydraConfig.instance().set_config(compose("train", return_hydra_config=True))
    option = f"datamodule={chosen('datamodule')}"
    for words, named in (([], True), (["run=runs/w"], False), (["run=runs/w", option], True)):
        typed = [Override(word, word.partition("=")[0]) for word in words]
        monkeypatch.setattr(explain, "overrides", lambda typed=typed: typed)
        said = str(explain.with_file(RefusedError("no", "datamodule.batch_size")))
        assert ("(configs/datamodule/" in said) == named


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("python train.py model=", {f"model={name}" for name in options("model")}),
        ("python train.py trainer.max", {"trainer.max_epochs="}),
        ("python evaluate.py checkp", {"checkpoint="}),
    ],
)
def test_shell_completion_offers_options_and_keys_without_torch(typed: str, offered: set[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / typed.split()[1], "--shell-completion", "query=bash"],
        env={**os.environ, "COMP_LINE": typed, "COMP_POINT": str(len(typed))},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert set(done.stdout.split()) >= offered
    assert not {line.rpartition("| ")[2].strip() for line in done.stderr.splitlines()}.intersection(HEAVY)
