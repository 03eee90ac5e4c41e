"""The code that a user adds: its classes are configured like ours."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command, copy_of_project, target

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


ACCEPTED = [
    "++callbacks.own={" + CALLBACKS + ".Fixed,patience:3}",
    "++callbacks.own={" + CALLBACKS + ".Popping,extra:2}",
    "++callbacks.own={" + CALLBACKS + ".Typed,kind:a,device:cpu,base:null}",
    "model._target_=my_project.callbacks.own.Mine",
    "datamodule._target_=my_project.callbacks.own.Data",
    "callbacks.checkpoint.train_time_interval={_target_:datetime.timedelta,minutes:5}",
    "trainer.plugins=[{_target_:pytorch_lightning.plugins.environments.LightningEnvironment}]",
    "++callbacks.own={_target_:pytorch_lightning.callbacks.ModelCheckpoint,monitor:step,mode:max}",
    "trainer.max_time={minutes:3} logger=null experiment=null callbacks=null",
]
# Checks each line in one process that imports torch once, and reports the error if there is one.
PROGRAM = """
import json, sys
from pathlib import Path
root = Path(sys.argv[1])
sys.path.insert(0, str(root))
from my_project.engine.cli import command, requests as runs
said = {}
for line in json.load(sys.stdin):
    words = [command._hydra_override(word, root / "configs") for word in line.split()]
    try:
        runs.check_training(command.compose_config(root / "configs", "train", words))
    except Exception as error:
        said[line] = repr(error)
json.dump(said, sys.stdout)
"""


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The error for each line that is not accepted, in a copy of this repository with the classes in a module."""
    copy = tmp_path_factory.mktemp("own") / "copy"
    copy_of_project(copy)
    (copy / "my_project" / "callbacks" / "own.py").write_text(OWN, encoding="utf-8")
    words = [sys.executable, "-c", PROGRAM, str(copy)]
    done = subprocess.run(words, input=json.dumps(ACCEPTED), capture_output=True, text=True, cwd=copy.parent)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("line", ACCEPTED)
def test_what_lightning_users_write_is_accepted(line: str, errors: dict[str, str]) -> None:
    assert errors.get(line) is None


def test_what_the_code_gives_is_known_by_the_annotation_not_by_the_name(tmp_path: Path) -> None:
    """A local variable of another name in `build(node, …)` does not lose the check."""
    copy = copy_of_project(tmp_path / "copy")
    path = copy / "my_project" / "models" / f"{MODEL_MODULE.rpartition('.')[2]}.py"
    text = path.read_text(encoding="utf-8")
    argument, given = re.search(r'(\w+): Annotated\[Config, Given\("(\w+)"', text).groups()  # type: ignore[union-attr]
    renamed = re.sub(rf"( *)(self\.\w+ = build\(\s*){argument},", rf"\1node = {argument}\n\1\2node,", text, count=1)
    assert renamed != text
    path.write_text(renamed, encoding="utf-8")
    status, said = Command(tmp_path, copy)("train.py", "--check", f"model.{argument}.{given}=5")
    assert (status, "is given by the code or the data" in said) == (2, True), said
