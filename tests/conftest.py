"""Shared by the tests of the generator: the questions, and rendering with chosen answers."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from allpairspy import AllPairs
from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
QUESTIONS: dict[str, Any] = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
CHOICES = {name: answer for name, answer in QUESTIONS.items() if isinstance(answer, list) and name[0] != "_"}
DEFAULTS = {name: answer[0] for name, answer in CHOICES.items()}
# Sets of answers that together contain every pair of choices, defaults first: each choice is tested by existing.
PAIRS = [dict(zip(CHOICES, row, strict=True)) for row in AllPairs(list(CHOICES.values()))]

IDENTITY = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
ENGINE_TESTS = ROOT / "tests" / "rendered"
collect_ignore = ["rendered"]
NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", "demo", "__pycache__", "*cache*", ".hypothesis")
LONGEST = (
    *("other_versions", "lines_and_files", "test_starters", "test_accuracy", "its_own_tests_pass", "test_strangers"),
    *("test_answers", "every_command", "in_a_new_environment", "test_shards"),
)
Bake = Callable[..., Path]


def with_engine_tests(project: Path) -> Path:
    """Copy the tests of the engine, which no user edits, beside the rendered tests."""
    return Path(shutil.copytree(ENGINE_TESTS, project / "tests", dirs_exist_ok=True)).parent


def pyproject_of(project: Path) -> dict[str, Any]:
    """Return the tables of the rendered pyproject.toml."""
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))


def metadata_of(project: Path) -> dict[str, Any]:
    """Return its [project] table."""
    return pyproject_of(project)["project"]


def title(answers: dict[str, str]) -> str:
    return "-".join(answer for name, answer in answers.items() if answer != DEFAULTS[name]) or "defaults"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin the longest tests first, so that no core waits for one at the end."""
    items.sort(key=lambda item: [part in item.nodeid for part in LONGEST], reverse=True)


@pytest.fixture(scope="session")
def user_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration of cookiecutter that keeps its files out of the home folder."""
    folder = tmp_path_factory.mktemp("cookiecutter")
    config = folder / "config.yaml"
    config.write_text(f"replay_dir: {folder / 'replay'}\ncookiecutters_dir: {folder / 'templates'}\n")
    return config


@pytest.fixture
def bake(tmp_path: Path, user_config: Path) -> Bake:
    """Render the checkout with answers in place of the defaults; returns the rendered root."""

    def baked(**answers: str) -> Path:
        out = tmp_path / "out"
        rendered = cookiecutter(
            str(ROOT), no_input=True, extra_context=answers, output_dir=str(out), config_file=str(user_config)
        )
        return Path(rendered)

    return baked


def run(*words: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command and capture what it prints."""
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, **environment},
    )


def tool(name: str) -> Path:
    """Return the path of a command that is installed beside Python."""
    return Path(sys.executable).with_name(name)


def commit(folder: Path, why: str) -> None:
    """Commit all changes, as Ada."""
    for words in (("add", "--all"), (*IDENTITY, "commit", "--quiet", "--message", why)):
        done = run("git", *words, cwd=folder)
        assert done.returncode == 0, done.stderr


def as_repository(folder: Path) -> Path:
    """Copy the template, as it is here, into a git repository with one commit."""
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
    run("git", "init", "--quiet", cwd=folder)
    commit(folder, "Template")
    return folder


def cookiecutter_command(*words: str | Path, cwd: Path, user_config: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line that the README gives."""
    return run(sys.executable, "-m", "cookiecutter", "--config-file", user_config, *words, cwd=cwd)
