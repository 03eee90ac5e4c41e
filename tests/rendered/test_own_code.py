"""The code that a user adds: its classes are configured like ours, and its mistakes are named."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
from conftest import ROOT, Command, target

from my_project.errors import INSTALL

MODEL_MODULE, MODEL = target("model")
DATA_MODULE, DATA = target("datamodule")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_own_code_names_file_line_and_traceback(
    workers: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data that a user writes fails in the first step, here or in a worker."""
    from my_project.datamodules import base

    def broken(self: object, index: object) -> None:
        raise KeyError("a mistake of the user's")

    monkeypatch.setattr(base.TensorBatches, "__getitem__", broken)
    name = f"broken_{workers}"
    quick = ("trainer=debug", "trainer.enable_progress_bar=false", f"datamodule.num_workers={workers}")
    status, output = command("train.py", f"name={name}", *quick)
    assert status == 1
    said = output.strip().splitlines()[-3:]
    assert "a mistake of the user's" in said[0]
    assert "test_own_code.py:" in said[1]
    log = command.folder / "runs" / name / "train.log"
    assert str(log) in said[2]
    assert "Traceback (most recent call last)" in log.read_text(encoding="utf-8")


def test_what_pip_put_elsewhere_is_no_own_code(tmp_path: Path) -> None:
    """A cluster often brings packages by PYTHONPATH: what they refuse is a refusal, not an error in the user's code."""
    site = tmp_path / "modules"
    shutil.copytree(Path(hydra.__file__).parent, site / "hydra")
    (installed,) = Path(hydra.__file__).parents[1].glob("hydra_core-*.dist-info")
    shutil.copytree(installed, site / installed.name)
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", "trainer=gppu"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "did you mean gpu" in done.stderr


OWN = """
from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping

from DATA_MODULE import DATA
from MODEL_MODULE import MODEL

if TYPE_CHECKING:
    from torch import Generator


class Kind(enum.Enum):
    A = "a"


class Fixed(EarlyStopping):
    def __init__(self, patience: int = 10, **kwargs: Any) -> None:
        super().__init__(monitor="val/loss", patience=patience, **kwargs)


class Popping(Callback):
    def __init__(self, **kwargs: Any) -> None:
        self.extra = kwargs.pop("extra", 1)


class Typed(Callback):
    def __init__(
        self, kind: Kind, device: torch.device, base: type[torch.nn.Module] | None, other: Generator | None = None
    ) -> None:
        pass


class Mine(MODEL):
    pass


class Data(DATA):
    @property
    def facts(self) -> dict[str, Any]:
        return dict(super().facts)
"""
for name in ("DATA_MODULE", "MODEL_MODULE", "DATA", "MODEL"):
    OWN = OWN.replace(f" {name}", f" {globals()[name]}").replace(f"({name})", f"({globals()[name]})")
CALLBACKS = "_target_:my_project.callbacks.own"


@pytest.mark.parametrize(
    "words",
    [
        ["++callbacks.own={" + CALLBACKS + ".Fixed,patience:3}"],
        ["++callbacks.own={" + CALLBACKS + ".Popping,extra:2}"],
        ["++callbacks.own={" + CALLBACKS + ".Typed,kind:a,device:cpu,base:null}"],
        ["model._target_=my_project.callbacks.own.Mine"],
        ["datamodule._target_=my_project.callbacks.own.Data"],
        ["callbacks.checkpoint.train_time_interval={_target_:datetime.timedelta,minutes:5}"],
        ["trainer.plugins=[{_target_:pytorch_lightning.plugins.environments.LightningEnvironment}]"],
        ["++callbacks.own={_target_:pytorch_lightning.callbacks.ModelCheckpoint,monitor:step,mode:max}"],
        ["trainer.max_time={minutes:3}", "logger=null", "experiment=null", "callbacks=null"],
    ],
)
def test_what_lightning_users_write_is_accepted(words: list[str], tmp_path: Path) -> None:
    copy = shutil.copytree(ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns("runs", ".venv", ".git", "*cache*"))
    (copy / "my_project" / "callbacks" / "own.py").write_text(OWN, encoding="utf-8")
    program = f"""
import sys
sys.path.insert(0, {str(copy)!r})
from my_project.front_door import command, runs
from pathlib import Path
words = [command._adding(word, Path({str(copy)!r}) / "configs") for word in {words!r}]
runs.check_training(command._composed(Path({str(copy)!r}) / "configs", "train", words))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.splitlines()[-1:]


@pytest.mark.parametrize(
    ("source", "status", "said"),
    [
        ("def broken(:", 2, "own.py:1: invalid syntax"),
        ("import not_there\n\n\nclass Own: ...", 2, f"own.py:1 needs a package that is not installed: {INSTALL} "),
        ("from . import not_there\n\n\nclass Own: ...", 1, "cannot import name 'not_there'"),
    ],
)
def test_an_own_module_that_does_not_import_is_named(source: str, status: int, said: str, tmp_path: Path) -> None:
    copy = shutil.copytree(ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns("runs", ".venv", ".git", "*cache*"))
    (copy / "my_project" / "callbacks" / "own.py").write_text(source + "\n", encoding="utf-8")
    own = "++callbacks.own={_target_:my_project.callbacks.own.Own}"
    ended, output = Command(tmp_path, root=copy).process("train.py", own)
    assert (ended, said in output) == (status, True), output
    assert len(output.strip().splitlines()) == (1 if status == 2 else 3)
    assert (tmp_path / "runs").exists() == (status == 1)
