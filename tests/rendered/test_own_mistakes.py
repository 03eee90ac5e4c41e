"""A mistake in the user's code is named: file, line, and where to find the traceback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
from conftest import ROOT, Command, copy_of_project

from my_project.engine.errors import INSTALL


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_own_code_names_file_line_and_traceback(
    workers: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's data fails in the first step, in this process or in a worker."""
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
    assert "test_own_mistakes.py:" in said[1]
    log = command.folder / "runs" / name / "train.log"
    assert str(log) in said[2]
    assert "Traceback (most recent call last)" in log.read_text(encoding="utf-8")


def test_what_pip_put_elsewhere_is_no_own_code(tmp_path: Path) -> None:
    """A cluster often provides packages by PYTHONPATH: their errors are refusals, not errors in the user's code.

    Here through a link to the folder, whose files are links into a cache, as uv can lay them out.
    """
    (tmp_path / "store").mkdir()
    site = tmp_path / "modules"
    site.symlink_to(tmp_path / "store")
    cache = shutil.copytree(Path(hydra.__file__).parent, tmp_path / "cache" / "hydra")
    shutil.copytree(cache, site / "hydra", copy_function=os.symlink)
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


OWN = "from pytorch_lightning import Callback\n\n\nclass Own(Callback): ..."


@pytest.mark.parametrize(
    ("source", "status", "said"),
    [
        ("def broken(:", 2, "own.py:1: invalid syntax"),
        (
            "import not_there\nfrom pytorch_lightning import Callback\n\n\nclass Own(Callback): ...",
            2,
            f"own.py:1 needs a package that is not installed: {INSTALL} ",
        ),
        (
            "from pytorch_lightning import Callback\n\nfrom . import not_there\n\n\nclass Own(Callback): ...",
            1,
            "cannot import name 'not_there'",
        ),
    ],
)
def test_an_own_module_that_does_not_import_is_named(source: str, status: int, said: str, tmp_path: Path) -> None:
    copy = copy_of_project(tmp_path / "copy")
    (copy / "my_project" / "callbacks" / "own.py").write_text(source + "\n", encoding="utf-8")
    own = "++callbacks.own={_target_:my_project.callbacks.own.Own}"
    ended, output = Command(tmp_path, root=copy).process("train.py", own)
    assert (ended, said in output) == (status, True), output
    assert len(output.strip().splitlines()) == (1 if status == 2 else 3)
    assert (tmp_path / "runs").exists() == (status == 1)
