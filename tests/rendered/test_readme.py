"""Every command and every file of the README, in a copy of this repository."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, copy_of_project, fitting
from starter import OWN_NAME, SMALL, write_inputs

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
OPENS_A_RUN = re.findall(r"`((?:from|model, datamodule =) [^`]*load_run[^`]*)`", README)
COMMANDS = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
SHORT = [
    "trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2", "trainer.enable_progress_bar=false",
]  # fmt: skip

# Runs each command line from standard input as a script, in one process that imports torch once.
DRIVER = """
import json, runpy, sys
sys.path.insert(0, "")
from hydra.core.global_hydra import GlobalHydra
for words in json.load(sys.stdin):
    GlobalHydra.instance().clear()
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    print("STATUS", status, *words, flush=True)
"""


@pytest.fixture(scope="module")
def statuses(tmp_path_factory: pytest.TempPathFactory, own_data: Path) -> dict[str, int]:
    """The exit status of each `python …` command of the README, run in order and shortened."""
    folder = tmp_path_factory.mktemp("readme") / "copy"
    copy_of_project(folder)
    (shutil.copytree if own_data.is_dir() else shutil.copy)(own_data, folder / OWN_NAME)
    write_inputs(folder)
    for _, text in BLOCKS:
        if named := re.match(r"# (\S+\.(?:py|yaml))\n", text):
            (folder / named[1]).write_text(text[named.end() :], encoding="utf-8")
    unnamed = [text for kind, text in BLOCKS if kind == "python" and not text.startswith("# ")]
    (folder / "notebook.py").write_text("\n".join([*unnamed, *OPENS_A_RUN]), encoding="utf-8")
    lines = []
    for line in (line for line in COMMANDS if line.startswith("python ")):
        words = shlex.split(line, comments=True)[1:]
        # Trainings that can be shortened; a rerun takes everything from the run.
        training = words[0] == "train.py" and not {"--help", "trainer=debug", "rerun=runs/first"}.intersection(words)
        fewer = [] if any(word.startswith("callbacks=") for word in words) else ["callbacks=[default]"]
        small: tuple[str, ...] = SMALL
        for option in next((word[6:].split(",") for word in words if word.startswith("model=")), [None]):
            small = fitting(small, option)
        lines.append([*words, *([*SHORT, *small, *fewer] if training else [])])
    lines.append(["notebook.py"])
    # DDP starts from a process of its own, in parallel with the other commands and their logger.
    together = [words for words in lines if "trainer=ddp" in words]
    alone = [words for words in lines if words not in together]
    beside = [subprocess.Popen([sys.executable, *words], cwd=folder) for words in together]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], input=json.dumps(alone), cwd=folder, capture_output=True, text=True
    )
    print(done.stdout, done.stderr)
    shown = re.findall(r"^STATUS (\d+) (.*)$", done.stdout, re.MULTILINE)
    assert len(shown) == len(alone), "a command ended the process"
    ended = {" ".join(words): process.wait() for words, process in zip(together, beside, strict=True)}
    return {words: int(status) for words, status in ended.items()} | {words: int(status) for status, words in shown}


def test_every_command_does_what_the_readme_says(statuses: dict[str, int]) -> None:
    without_gpu = {words for words in statuses if "trainer=gpu" in words and not torch.cuda.is_available()}
    assert {words for words, status in statuses.items() if status} == without_gpu
    assert all(statuses[words] == 2 for words in without_gpu)


def test_it_says_how_to_open_a_run() -> None:
    assert len(OPENS_A_RUN) == 2  # both run with the commands


def test_only_the_commands_of_installing_and_checking_are_not_run_here() -> None:
    others = {line.split()[0] for line in COMMANDS if not line.startswith("python ")}
    assert others in ({"python3", ".", "pip", "pytest"}, {"uv", ".", "pytest"}, {"conda", "pytest"})


def test_every_path_that_the_readme_names_is_there() -> None:
    named = {path for path in re.findall(r"`([\w./]+/[\w./]*)`", README) if not path.startswith(("runs/", OWN_NAME))}
    assert {path for path in named if not (ROOT / path).exists()} <= {"checkpoints/", "predictions/", "plots/"}


def test_readme_fits_in_one_sitting() -> None:
    assert len(README.splitlines()) <= 150
