"""The code that a user adds: its classes are configured like ours."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import copy_of_project, target

MODEL_MODULE, MODEL = target("model")
DATA_MODULE, DATA = target("datamodule")


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
    copy = copy_of_project(tmp_path / "copy")
    (copy / "my_project" / "callbacks" / "own.py").write_text(OWN, encoding="utf-8")
    program = f"""
import sys
sys.path.insert(0, {str(copy)!r})
from my_project.engine.cli import command, requests as runs
from pathlib import Path
words = [command._adding(word, Path({str(copy)!r}) / "configs") for word in {words!r}]
runs.check_training(command._composed(Path({str(copy)!r}) / "configs", "train", words))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.splitlines()[-1:]
