"""The commands as a user types them: train, evaluate, predict, resume, fine-tune; and what they refuse."""

import csv
import json
import re
import shlex
import shutil
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NO_LOGGER, Command, fitting
from PIL import Image
from starter import FILES, NO_SUCH_INPUT, OWN_DATAMODULE, PLOTS, SMALL, write_inputs

from {{ cookiecutter.package_name }} import load_run

SHORT = (
    "trainer.max_epochs=2", "trainer.limit_train_batches=8", "trainer.limit_val_batches=4", "trainer.accelerator=cpu",
    *NO_LOGGER, *fitting(SMALL),
)  # fmt: skip


@pytest.fixture(scope="module")
def run(command: Command) -> Path:
    """A finished run, trained by a process of its own."""
    status, output = command.process("train.py", "name=first", *SHORT)
    assert status == 0, output
    assert "python predict.py run=runs/first" in output
    epochs = re.findall(r"^Epoch (\d) of 2, step (\d+): .*val/loss [\d.]+", output, re.MULTILINE)
    assert epochs == [("1", "8"), ("2", "16")]
    return command.folder / "runs" / "first"


def test_run_folder_holds_all_that_the_readme_names(run: Path) -> None:
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    plots = {f"plots/{name}.png" for name in ("learning_curves", *PLOTS)}
    json_files = {"metrics.json", "provenance.json", "status.json"}
    named = {"config.yaml", "metrics.csv", "times.csv", "seen.npy", "train.log", *json_files, *FILES}
    assert files - {"changes.patch"} == named | plots | {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}
    for plot in plots:
        with Image.open(run / plot) as image:
            assert np.asarray(image.convert("L")).std() > 5, f"{plot} is blank"


def test_provenance_has_the_command_as_it_was_typed(run: Path) -> None:
    command = json.loads((run / "provenance.json").read_text())["command"]
    assert command == shlex.join(["python", "train.py", "name=first", *(word.removeprefix("++") for word in SHORT)])


def test_metrics_of_csv_and_json_agree(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert [row["epoch"] for row in rows[:2]] == ["0", "1"]
    assert set(metrics) == {"train", "val", "test", "best", "samples"}
    assert all(metrics["samples"][split] > 0 for split in ("train", "val", "test"))
    assert metrics["val"]["loss"] == min(float(row["val/loss"]) for row in rows if row["val/loss"])
    assert {f"test/{name}": str(value) for name, value in metrics["test"].items()}.items() <= rows[-1].items()


def test_what_the_model_says_that_it_logs_is_what_it_logs(run: Path) -> None:
    """The check of `monitor` relies on it."""
    model: Any = load_run(run).model
    logged = model.logged
    columns = [name for name in next(csv.reader((run / "metrics.csv").open())) if name.startswith(("train/", "val/"))]
    hit = {pattern for name in columns for pattern in logged if fnmatchcase(name, pattern)}
    assert {*logged} == hit
    assert all(any(fnmatchcase(name, pattern) for pattern in logged) for name in columns)


def test_evaluation_from_disk_gives_the_training_s_test_metrics(run: Path, command: Command) -> None:
    status, output = command("evaluate.py", "run=runs/first")
    assert status == 0, output
    assert "test/loss" in output
    evaluated = json.loads((run / "evaluation_best.json").read_text())["test"]
    assert evaluated == json.loads((run / "metrics.json").read_text())["test"]


def test_averaged_weights_are_those_that_are_tested(run: Path, command: Command) -> None:
    quick = (*SHORT, "callbacks=[default,ema]", "callbacks.ema.decay=0.7")
    assert command("train.py", "name=averaged", *quick)[0] == 0
    assert command("evaluate.py", "run=runs/averaged")[0] == 0
    averaged = command.folder / "runs" / "averaged"
    evaluated = json.loads((averaged / "evaluation_best.json").read_text())["test"]
    assert evaluated == json.loads((averaged / "metrics.json").read_text())["test"]
    kept = torch.load(averaged / "checkpoints" / "best.ckpt", weights_only=True)
    assert any(not torch.equal(kept["state_dict"][key], value) for key, value in kept["current_model_state"].items())


def test_evaluation_of_the_last_checkpoint_on_less_data(run: Path, command: Command) -> None:
    status, output = command("evaluate.py", "run=runs/first", "checkpoint=last", "trainer.limit_test_batches=1")
    assert status == 0, output
    content = json.loads((run / "evaluation_last.json").read_text())
    assert content["overrides"] == ["trainer.limit_test_batches=1"]
    assert f" of {content['samples']:,} of {content['of']:,} " in output
    assert content["test"] != json.loads((run / "metrics.json").read_text())["test"]


def test_prediction_is_written_where_it_says_and_is_the_same_each_time(run: Path, command: Command) -> None:
    given = write_inputs(command.folder)
    contents = []
    for words in ((), ("output=out/predicted",)):
        status, output = command("predict.py", "run=runs/first", f"input={given}", *words)
        assert status == 0, output
        path = command.folder / output.strip().splitlines()[-1].split(" in ")[-1]
        files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
        contents.append([each.read_bytes() for each in files])
    assert contents[0] == contents[1] != []


def test_a_run_predicts_without_the_data_that_it_was_trained_on(run: Path, command: Command, own_data: Path) -> None:
    own = command.folder / f"own_{own_data.name}"
    (shutil.copytree if own_data.is_dir() else shutil.copy)(own_data, own)
    words = (f"datamodule={OWN_DATAMODULE}", f"datamodule.root={own.name}", "callbacks=[default]")
    status, output = command("train.py", "name=own", *SHORT, *words)
    assert status == 0, output
    own.rename(own.with_name(f"moved_{own_data.name}"))
    _, output = command("predict.py", "run=runs/own", f"input={write_inputs(command.folder)}")
    assert "datamodule.root" not in output  # these inputs may be of another kind than own data
    status, output = command("evaluate.py", "run=runs/own")
    assert status == 2
    assert f"datamodule.root={own.name}: " in output


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_broken_checkpoint_is_refused_by_name(content: bytes | None, run: Path, command: Command) -> None:
    path = command.folder / "broken.ckpt"
    path.write_bytes((run / "checkpoints" / "best.ckpt").read_bytes()[:-5000] if content is None else content)
    status, output = command("evaluate.py", "run=runs/first", "checkpoint=broken.ckpt")
    assert status == 2
    assert output.startswith("broken.ckpt is not an intact checkpoint: it is ")
    assert len(output.strip().splitlines()) == 1


def test_a_finished_run_is_never_overwritten(run: Path, command: Command) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*.*") if path.is_file()}
    status, output = command("train.py", "name=first", *SHORT)
    assert status == 2
    assert "runs/first is a finished run" in output
    assert all(path.read_bytes() == content for path, content in before.items())


def test_an_unfinished_run_resumes_from_its_last_checkpoint(run: Path, command: Command) -> None:
    quick = (*SHORT, "callbacks=[default]")
    assert command("train.py", "name=stopped", *quick)[0] == 0
    stopped = command.folder / "runs" / "stopped"
    (stopped / "metrics.json").unlink()  # as a run that was stopped before its test
    status, output = command("train.py", "name=stopped", *quick, "trainer.max_epochs=3", "resume=inexact")
    assert status == 0, output
    assert "Resuming from runs/stopped/checkpoints/last.ckpt, step 16" in output
    rows = [row["epoch"] for row in csv.DictReader((stopped / "metrics.csv").open()) if row["val/loss"]]
    assert rows == ["0", "1", "2"]
    assert torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 3  # completed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train.py", "name=first", "init_from=runs/none"), "runs/first is a finished run"),
        (("train.py", "name=new", "init_from=runs/none"), "init_from=runs/none: no run folder"),
        (
            ("train.py", "name=new", f"datamodule={OWN_DATAMODULE}", "datamodule.root=none"),
            "datamodule.root=none: ",
        ),
        (("evaluate.py", "run=runs/none"), "the newest is run=runs/"),
        (("evaluate.py", "run=runs/first", "checkpoint=x.ckpt"), "best.ckpt, last.ckpt"),
        (("evaluate.py", "run=runs/first", "model.optimizer.lr=0"), "only datamodule, trainer, callbacks"),
        (("evaluate.py", "run=runs/first", "datamodule.test_fraction=1.0"), "other data (datamodule.root=…)"),
        (("evaluate.py", "run=runs/first", "trainer.limit_test_batches=0"), "nothing would be measured"),
        (("predict.py", "run=runs/first", "input=none"), f"input=none: {NO_SUCH_INPUT}"),
    ],
)
def test_refused_in_one_line_and_nothing_left_behind(
    words: tuple[str, ...], said: str, run: Path, command: Command
) -> None:
    if "input=none" in words and not NO_SUCH_INPUT:
        pytest.skip("here any words are an input")
    status, output = command(*words)
    assert status == 2
    assert said in output
    assert len(output.strip().splitlines()) == 1
    assert not (command.folder / "runs" / "new").exists()


def test_same_seed_same_bits_other_seed_others(run: Path, command: Command) -> None:
    for name, seed in (("again", 0), ("other", 1)):
        assert command("train.py", f"name={name}", f"seed={seed}", *SHORT)[0] == 0
    logs = {name: (command.folder / "runs" / name / "metrics.csv").read_text() for name in ("first", "again", "other")}
    assert logs["first"] == logs["again"] != logs["other"]
