"""What a stranger may send, a checkpoint, a run folder, an input, runs no code: it is refused in one line."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from killed import PACKAGE, STEP, At, train
from omegaconf import OmegaConf
from test_resume import QUICK

from my_project import load_run
from my_project.errors import RefusedError

RAN = "ran.txt"


class Payload:
    """Unpickled it makes the file RAN."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {RAN}",)


@pytest.fixture(scope="module")
def folder(command: Command) -> Path:
    """Where runs/ours has been trained, and runs/killed was killed."""
    status, said = train(command.folder, "name=ours", *QUICK)
    assert status == 0, said
    assert train(command.folder, "name=killed", *QUICK, at=At(STEP, 3))[0] == -9
    return command.folder


@pytest.fixture
def theirs(folder: Path) -> Path:
    """A run folder that came from elsewhere."""
    path = folder / "runs" / "theirs"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(folder / "runs" / "ours", path)
    return path


def assert_refused(status: int, said: str, part: str, folder: Path) -> None:
    assert status == 2, said
    assert part in said
    assert len(said.strip().splitlines()) == 1, said
    assert not (folder / RAN).exists(), "its code ran"


def spoilt(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


NO_CHECKPOINT = "is no whole checkpoint"
CHECKPOINTS = {
    "an object": (
        lambda path: spoilt(path, lambda content: content.update(payload=Payload())),
        "holds more than tensors and plain values",
    ),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps(Payload())), NO_CHECKPOINT),
    "an old torch file": (
        lambda path: torch.save(Payload(), path, _use_new_zipfile_serialization=False),
        NO_CHECKPOINT,
    ),
}
INSTANTIATORS = {
    "an instantiator": {"_instantiator": "os.system"},
    "a class path": {"_instantiator": "pytorch_lightning.cli.instantiate_module", "_class_path": "os.system"},
    "a target": {"network": {"_target_": "os.system", "command": f"touch {RAN}"}},
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_checkpoint_with_code_is_refused_wherever_it_is_loaded(
    kind: str, theirs: Path, folder: Path, command: Command
) -> None:
    best = theirs / "checkpoints" / "best.ckpt"
    spoil, part = CHECKPOINTS[kind]
    spoil(best)
    for words in (
        ("evaluate.py", "run=runs/theirs"),
        ("predict.py", "run=runs/theirs", "input=said.txt"),
        ("train.py", "init_from=runs/theirs", "name=tuned", *QUICK),
    ):
        assert_refused(*command(*words), part, folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        with pytest.raises(RefusedError):
            load_run("runs/theirs")
    finally:
        os.chdir(before)
    for name in ("last", "previous"):
        shutil.copy(best, folder / "runs" / "killed" / "checkpoints" / f"{name}.ckpt")
    status, said = train(folder, "name=killed", *QUICK)
    assert_refused(status, said, "runs/killed" if kind == "an object" else "no whole checkpoint is left", folder)


@pytest.mark.parametrize("kind", INSTANTIATORS)
def test_hyper_parameters_that_name_code_are_refused(kind: str, theirs: Path, folder: Path, command: Command) -> None:
    best = theirs / "checkpoints" / "best.ckpt"
    spoilt(best, lambda content: content["hyper_parameters"].update(INSTANTIATORS[kind]))
    assert_refused(*command("evaluate.py", "run=runs/theirs"), "", folder)


CONFIGS: dict[str, tuple[str, Any, str]] = {
    "a target": ("model.network", {"_target_": "os.system", "command": f"touch {RAN}"}, "os.system: not allowed"),
    "a builtin": ("callbacks.x", {"_target_": "builtins.eval"}, "builtins.eval: not allowed"),
    "a loader": ("callbacks.x", {"_target_": "torch.load", "f": "best.ckpt"}, "torch.load: not allowed"),
    "the engine": ("callbacks.x", {"_target_": f"{PACKAGE}.run_folder.folder.write_json"}, "not allowed"),
    "a resolver": ("trainer.max_epochs", "${oc.env:HOME}", "calls a resolver (${oc.env:HOME"),
    "a hidden resolver": ("monitor", "${${mode}.env:HOME}", "calls a resolver"),
    "a path out": ("trainer.profiler", {
        "_target_": "pytorch_lightning.profilers.SimpleProfiler", "dirpath": "../..", "filename": "x",
    }, "trainer.profiler.dirpath=../..: leads out of the run folder"),
    "a path in the project": ("trainer.profiler", {
        "_target_": "pytorch_lightning.profilers.SimpleProfiler", "dirpath": "configs", "filename": "x",
    }, "trainer.profiler.dirpath=configs: leads out of the run folder"),
    "an absolute path": ("callbacks.checkpoint.dirpath", "/root/.ssh", "leads out of the run folder"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_that_names_code_or_leads_out_is_refused(
    kind: str, theirs: Path, folder: Path, command: Command
) -> None:
    key, value, part = CONFIGS[kind]
    cfg = OmegaConf.load(theirs / "config.yaml")
    OmegaConf.update(cfg, key, value, merge=False)
    OmegaConf.save(cfg, theirs / "config.yaml")
    assert_refused(*command("evaluate.py", "run=runs/theirs"), part, folder)
    assert_refused(*command("train.py", "rerun=runs/theirs", "name=again"), part, folder)
    assert not (folder / "runs" / "again").exists()


def test_yaml_that_makes_objects_is_refused(theirs: Path, folder: Path, command: Command) -> None:
    with (theirs / "config.yaml").open("a", encoding="utf-8") as file:
        file.write(f"x: !!python/object/apply:os.system ['touch {RAN}']\n")
    assert_refused(*command("evaluate.py", "run=runs/theirs"), "can't be read", folder)


@pytest.mark.parametrize("name", ["evaluation_best", "evaluation_best.json.tmp", "predictions", "wandb"])
def test_a_link_that_leads_out_of_the_run_folder_is_refused(
    name: str, theirs: Path, folder: Path, command: Command
) -> None:
    outside = folder / "outside"
    outside.mkdir(exist_ok=True)
    (theirs / name).symlink_to(outside / "x")
    for words in (("evaluate.py",), ("predict.py", "input=said.txt")):
        assert_refused(*command(*words, "run=runs/theirs"), "is a link that leads out of the run folder", folder)
    assert not any(outside.iterdir())
