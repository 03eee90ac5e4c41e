"""What the tests share: the options on disk, composed configs, and the real command lines."""

import contextlib
import io
import logging
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).resolve().parents[1]
NO_LOGGER = ("~logger",) if (ROOT / "configs" / "logger").is_dir() else ()  # beside metrics.csv
sys.path.insert(0, str(ROOT))
os.environ["WANDB_MODE"] = "offline"
os.environ["OMP_NUM_THREADS"] = "1"  # several tests run at once; for the processes that they start
torch.set_num_threads(1)


def options(group: str) -> list[str]:
    """The names of the files in configs/<group>/: a file that is added is tested by being there."""
    return sorted(path.stem for path in (ROOT / "configs" / group).glob("*.yaml"))


def chosen(group: str) -> str:
    """The option of configs/<group>/ that train.yaml chooses."""
    defaults = OmegaConf.load(ROOT / "configs" / "train.yaml").defaults
    return next(each[group] for each in defaults if isinstance(each, DictConfig) and group in each)


def target(group: str) -> tuple[str, str]:
    """Module and name of the class that train.yaml chooses from configs/<group>/."""
    module, _, name = OmegaConf.load(ROOT / "configs" / group / f"{chosen(group)}.yaml")._target_.rpartition(".")
    return module, name


def fitting(words: Iterable[str], option: str | None = None) -> tuple[str, ...]:
    """Of overrides such as SMALL those that a model takes: networks that you write or edit may have other sizes.

    `option` is a file of configs/model/; without it, the one that train.yaml chooses.
    """
    file = ROOT / "configs" / "model" / f"{option or chosen('model')}.yaml"
    model = OmegaConf.load(file) if file.exists() else OmegaConf.create()
    keys = {word: word.lstrip("+").partition("=")[0] for word in words}
    inner = {word: key.removeprefix("model.") for word, key in keys.items() if key.startswith("model.network.")}
    return tuple(word for word in keys if word not in inner or OmegaConf.select(model, inner[word]) is not None)


@pytest.fixture
def configure(own_data: Path) -> Iterator[Callable[..., DictConfig]]:
    """Composes train.yaml with overrides. A datamodule that reads the user's files gets those of the starter."""
    import starter

    from {{ cookiecutter.package_name }}.engine.config.monitor import settle_mode

    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):

        def configured(*overrides: str) -> DictConfig:
            recipes = [recipe for word, recipe in getattr(starter, "NEEDS", {}).items() if word in overrides]
            cfg = compose("train", overrides=["name=test", *recipes, *overrides])
            if "root" in cfg.datamodule.keys():  # noqa: SIM118 (`in` is False for a value left open, ???)
                files = getattr(starter, "OWN_FILES", {})  # by the module of the datamodule
                cfg.datamodule.root = str(own_data / files.get(cfg.datamodule._target_.split(".")[-2], ""))
            settle_mode(cfg)
            return cfg

        yield configured


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Lines written to the log."""
    from {{ cookiecutter.package_name }}.engine.logs import log

    lines: list[str] = []
    handler, level = logging.Handler(), log.level
    handler.emit = lambda record: lines.append(record.getMessage())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield lines
    log.removeHandler(handler)
    log.setLevel(level)


def copy_of_project(folder: Path) -> Path:
    """A copy of this repository, without its runs and what tools leave."""

    def left_out(parent: str, names: list[str]) -> list[str]:
        of_root = {"runs", ".venv", ".git"} if Path(parent) == ROOT else set()
        return [name for name in names if name in of_root or "cache" in name]

    return Path(shutil.copytree(ROOT, folder, ignore=left_out))


class Command:
    """Run the commands of the repository `root` in `folder`, as on the command line."""

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        self.folder, self.root = folder, root

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`python <words>` as a process of its own: what a user does, 8 s each."""
        script, *arguments = words
        return subprocess.Popen(
            [sys.executable, str(self.root / script), *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def process(self, *words: str) -> tuple[int, str]:
        """Exit status and output of a process of its own."""
        process = self.start(*words)
        output, _ = process.communicate()
        return process.returncode, output

    def __call__(self, *words: str) -> tuple[int, str]:
        """`python <words>` in this process, which has imported torch. Returns exit status and output."""
        script, *arguments = words
        before = Path.cwd(), sys.argv
        GlobalHydra.instance().clear()
        output, status = io.StringIO(), 0
        try:
            os.chdir(self.folder)
            sys.argv = [str(self.root / script), *arguments]
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as stop:
            status = int(stop.code or 0)
        finally:
            os.chdir(before[0])
            sys.argv = before[1]
        return status, output.getvalue()


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command line in an empty folder."""
    return Command(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="session")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the task as a user would bring them; never written to by a test."""
    from starter import OWN_NAME, write_own_data

    path = tmp_path_factory.mktemp("own") / OWN_NAME
    write_own_data(path)
    return path
