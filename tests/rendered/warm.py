"""Preloaded by the process from which trainings are forked: their common imports and reads."""

import contextlib
import io
import os
import runpy
import sys
import tempfile
from pathlib import Path

import matplotlib.figure  # noqa: F401
import sklearn.model_selection  # noqa: F401
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
torch.set_num_threads(1)  # a process with several threads could not be forked


def check() -> None:
    """Run `python train.py --check` in a folder of its own, so that what it parses of Lightning is cached."""
    before = Path.cwd(), sys.argv
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as said:
        os.chdir(folder)
        sys.argv = [f"{ROOT}/train.py", "--check", "trainer.accelerator=cpu"]
        try:
            with contextlib.redirect_stderr(said):
                runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as stop:
            if stop.code:
                raise RuntimeError(said.getvalue()) from None
        finally:
            os.chdir(before[0])
            sys.argv = before[1]


check()
