"""Text of --help, generated from configs/ and pyproject.toml."""

import ast
import os
import shutil
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import yaml

from ..config.files import defaults_of, read_config
from .requests import CHANGEABLE

FLAGS = {
    "--check": "only check the command: exit status 0, or 2 and a line that says what is wrong",
    "--traceback": "show where in the code an error or a refusal came from",
    "--cfg job": "print the whole config instead of running",
    "--multirun": "run each combination of values: seed=0,1,2 trainer.max_epochs=5,10",
    "--shell-completion": 'in bash: eval "$(python train.py --shell-completion install=bash)"',
}


def show_help(script: Path) -> None:
    """Print the help. A closed pipe, as in `--help | head`, is no error."""
    try:
        print(help_text(script), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit


def help_text(script: Path) -> str:
    """Return the docstring of `script` and the groups and keys of configs/. Nothing is composed, so it is fast."""
    source = script.read_text(encoding="utf-8")
    about = ast.get_docstring(ast.parse(source), clean=False) or ""
    folder = script.resolve().parent / "configs"
    written = (folder / f"{script.stem}.yaml").read_text(encoding="utf-8")
    entries = [entry for entry in defaults_of(read_config(folder / "train.yaml")) if isinstance(entry, dict)]
    groups = {group: chosen for entry in entries for group, chosen in entry.items()}
    keys = list(_keys(written.splitlines(), yaml.compose(written)))
    if script.stem != "train":
        groups = dict.fromkeys(CHANGEABLE)
    tables = {
        "Groups, a folder of configs/ each (* is the default):": [_group(folder / key, groups[key]) for key in groups],
        "Keys and their defaults:": [_row(key, f"{value:<12}{comment}", 12) for key, value, comment in keys],
        "Every other key that `--cfg job` shows can be set as well. Flags:": [_row(*flag) for flag in FLAGS.items()],
    }
    sections = ("\n".join([title, *filter(None, rows)]) for title, rows in tables.items())
    return "\n\n".join(filter(None, (_project(script.with_name("pyproject.toml")), about.strip(), *sections)))


def _project(pyproject: Path) -> str:
    """Return the name and the description of the project, if pyproject.toml has them."""
    try:
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return ""
    return ": ".join(str(project[key]) for key in ("name", "description") if key in project)


def _keys(lines: list[str], node: yaml.Node | None, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield key, value and comment of each commented line of a config, without Hydra's own keys."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value not in ("defaults", "hydra"):
            yield from _keys(lines, value, f"{path}{key.value}.")
            comment = lines[key.start_mark.line].partition(" # ")[2]
            if isinstance(value, yaml.ScalarNode) and comment:
                yield f"{path}{key.value}", value.value.replace("???", "needed"), comment


def _group(folder: Path, chosen: str | list[str] | None) -> str:
    defaults = chosen if isinstance(chosen, list) else [chosen]
    names = [f"{file.stem}{'*' * (file.stem in defaults)}" for file in sorted(folder.glob("*.yaml"))]
    return _row(folder.name, ", ".join(names)) if names else ""


def _row(name: str, text: str, indent: int = 0) -> str:
    width = min(110, max(70, shutil.get_terminal_size(fallback=(110, 24)).columns))
    return textwrap.fill(f"  {name:<29}{text}", width=width, subsequent_indent=" " * (31 + indent))
