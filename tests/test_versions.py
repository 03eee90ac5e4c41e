"""The rendered tests on versions other than those in constraints.txt: the next Hydra, and the lowest allowed."""

import re
import sys
from pathlib import Path

import pytest
from conftest import CHOICES, ROOT, Bake, metadata_of, run, tool, with_engine_tests


def lowest(project: Path) -> dict[str, str]:
    """Return the lower bounds in pyproject.toml. torch stays at its pin: another would be downloaded with its CUDA."""
    metadata = metadata_of(project)
    bounds = [*metadata["dependencies"], *metadata["optional-dependencies"]["dev"]]
    pairs = dict(re.match(r"([\w-]+)>=([\w.]+)", bound).groups() for bound in bounds)
    return {name: version for name, version in pairs.items() if name not in ("torch", "ruff", "pyrefly")}


VERSIONS = {
    "hydra 1.4": lambda project: {"hydra-core": "1.4.0rc3", "omegaconf": "2.4.1rc1"},
    "lowest": lowest,
}


# Tests of our own code alone do not depend on versions.
OF_ANY = [f"--ignore=tests/test_{name}.py" for name in ("bounds", "data_page", "evaluation", "monitor", "shown")]


def test_the_known_good_versions_are_there_for_each_python(bake: Bake, tmp_path: Path) -> None:
    """Pins of everything that an answer or these tests can ask for; uv resolves for a Python that is not installed."""
    needed = {*(ROOT / "tests" / "requirements.txt").read_text().splitlines()}
    pins = {line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "-"}
    for number, starter in enumerate(CHOICES["starter"]):
        answers = {question: choices[-1] for question, choices in CHOICES.items()}
        answers["logger"] = CHOICES["logger"][number % len(CHOICES["logger"])]
        project = bake(**{**answers, "starter": starter, "project_slug": f"project-{number}"})
        metadata = metadata_of(project)
        needed.update(metadata["dependencies"], metadata["optional-dependencies"]["dev"])
        pins.update((project / "constraints.txt").read_text().splitlines())
    (tmp_path / "needed.txt").write_text("\n".join(sorted(needed)))
    (tmp_path / "pins.txt").write_text("\n".join(sorted(pins)))
    for version in ("3.11", "3.12", "3.13", "3.14"):
        words = ("pip", "compile", "--quiet", "--python-version", version, "-c", "pins.txt", "needed.txt")
        done = run(tool("uv"), *words, cwd=tmp_path)
        assert done.returncode == 0, f"Python {version}: {done.stderr}"
        assert "torch==2.13.0" in done.stdout


# What argparse does on Python 3.14: it reads a help text when it is added. Then the script that follows runs.
AS_ON_3_14 = """
import argparse, runpy, sys

def check_help(self, action):
    if action.help and hasattr(self, "_get_formatter"):
        try:
            self._get_formatter()._expand_help(action)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError("badly formed help string") from error

def add_argument(self, *args, add=argparse._ActionsContainer.add_argument, **kwargs):
    action = add(self, *args, **kwargs)
    self._check_help(action)
    return action

argparse._ActionsContainer._check_help = check_help
argparse._ActionsContainer.add_argument = add_argument
sys.argv = sys.argv[1:]
sys.path.insert(0, "")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("words", ["--check", "--cfg job", "--hydra-help", "trainer.max_stepss=1"])
def test_commands_start_with_the_argparse_of_python_3_14(words: str, bake: Bake) -> None:
    """Hydra 1.3 alone does not: one of its help texts is no string."""
    project = bake(starter="tabular")
    now, then = (
        run(sys.executable, *before, "train.py", *words.split(), cwd=project) for before in ((), ("-c", AS_ON_3_14))
    )
    assert (then.returncode, then.stdout, then.stderr) == (now.returncode, now.stdout, now.stderr)


@pytest.mark.long
@pytest.mark.parametrize("versions", VERSIONS)
def test_rendered_tests_pass_on_other_versions(versions: str, bake: Bake, tmp_path: Path) -> None:
    project = with_engine_tests(bake())
    pins = VERSIONS[versions](project)
    kept = [
        line
        for line in (project / "constraints.txt").read_text().splitlines()
        if re.split("==", line)[0] not in {*pins, *(("scipy",) if versions == "lowest" else ())}
    ]
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("\n".join([*kept, *(f"{name}=={version}" for name, version in pins.items())]) + "\n")
    python = tmp_path / "venv" / "bin" / "python"
    for words in (
        [sys.executable, "-m", "venv", tmp_path / "venv"],
        [python, "-m", "pip", "install", "--quiet", "--no-compile", "--pre", "-c", constraints, f"{project}[dev]"],
        [python, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'pytest'}", *OF_ANY],
    ):
        done = run(*words, cwd=project, PYTHONPATH="")
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert " passed" in done.stdout
