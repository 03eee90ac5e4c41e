"""The notebook runs from its first cell to its last, on a finished run."""

import ast
import json
import os
import shutil
from typing import Any

import nbformat
import pytest
from conftest import NO_LOGGER, ROOT, Command
from nbclient import execute
from starter import SMALL

SHORT = (
    "trainer.max_epochs=1", "trainer.limit_train_batches=4", "trainer.limit_val_batches=2", "trainer.accelerator=cpu",
    "callbacks=[default]", *NO_LOGGER,
)  # fmt: skip
SMALLER = [word for word in SMALL if "limit_test_batches" not in word]  # the notebook measures all of the test data


def test_the_notebook_measures_what_the_run_has_measured(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    status, output = command("train.py", "name=first", *SHORT, *SMALLER)
    assert status == 0, output
    shutil.copytree(ROOT / "notebooks", command.folder / "notebooks")
    notebook: Any = nbformat.read(command.folder / "notebooks" / "finished_run.ipynb", as_version=4)
    done = execute(notebook, cwd=str(command.folder / "notebooks"), timeout=300, kernel_name="python3")
    shown = ast.literal_eval(done.cells[-1].outputs[-1]["data"]["text/plain"])
    known = json.loads((command.folder / "runs" / "first" / "metrics.json").read_text())["test"]
    assert {name.removeprefix("test/"): value for name, value in shown.items()} == pytest.approx(known)
