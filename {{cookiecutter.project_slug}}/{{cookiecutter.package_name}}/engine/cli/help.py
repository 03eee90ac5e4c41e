"""The text of --help, made from configs/ and pyproject.toml."""

import ast
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml

from ..config.files import defaults_of, read_config
from .requests import CHANGEABLE

FLAGS = {
    "--check": "only check the command: exit status 0, or 2 and a line that says what is wrong",
    "--traceback": "show where in the code an error or a refusal came from",
    "--cfg job": "print the whole config in place of running",
    "--multirun": "run each combination of values: seed=0,1,2 trainer.max_epochs=5,10",
    "--shell-completion": 'in bash: eval "$(python train.py --shell-completion install=bash)"',
}
# As the template writes them: no escapes but \" and \\, so that what is between the marks is JSON too.
IN_PYPROJECT = re.compile(r'^(name|description) = ("(?:[^"\\]|\\["\\])*")', re.MULTILINE)


def show_help(script: Path) -> None:
    """Print it; `--help | head` ends quietly where its reader has seen enough."""
    try:
        print(help_text(script), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is flushed at exit goes there


def help_text(script: Path) -> str:
    """The docstring of `script`, then what configs/ offers: nothing is composed, so it comes at once."""
    source = script.read_text(encoding="utf-8")
    about = ast.get_docstring(ast.parse(source), clean=False) or ""
    folder = script.resolve().parent / "configs"
    written = (folder / f"{script.stem}.yaml").read_text(encoding="utf-8")
    entries = [entry for entry in defaults_of(read_config(folder / "train.yaml")) if isinstance(entry, dict)]
    groups = {group: chosen for entry in entries for group, chosen in entry.items()}
    keys = list(_keys(written.splitlines(), yaml.compose(written)))
    if script.stem != "train":
        groups = dict.fromkeys(CHANGEABLE)
    parts = {
        "Groups, a folder of configs/ each (* is the default):": [_group(folder / key, groups[key]) for key in groups],
        "Keys and their defaults:": [_row(key, f"{value:<12}{comment}", 12) for key, value, comment in keys],
        "Every other key that `--cfg job` shows can be set as well. Flags:": [_row(*flag) for flag in FLAGS.items()],
    }
    sections = ("\n".join([title, *filter(None, rows)]) for title, rows in parts.items())
    return "\n\n".join(filter(None, (_project(script.with_name("pyproject.toml")), about.strip(), *sections)))


def _project(pyproject: Path) -> str:
    """Name and description of the project, where pyproject.toml has them in double quotes: the first of each."""
    pairs = IN_PYPROJECT.findall(pyproject.read_text(encoding="utf-8")) if pyproject.is_file() else []
    texts = dict(reversed(pairs))
    return ": ".join(json.loads(texts[key], strict=False) for key in ("name", "description") if key in texts)


def _keys(lines: list[str], node: yaml.Node | None, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Key, value and comment of each line of train.yaml that has one; what concerns Hydra alone is left out."""
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
    return textwrap.fill(f"  {name:<29}{text}", width=110, subsequent_indent=" " * (31 + indent))
