"""The text of --help: what the command does, its groups with their options, its keys with their defaults."""

import ast
import re
import textwrap
from pathlib import Path

import yaml

from .run_folder import CHANGEABLE

FLAGS = {
    "--check": "only check the command: exit status 0, or 2 and a line that says what is wrong",
    "--cfg job": "print the whole config in place of running",
    "--multirun": "run each combination of values: seed=0,1,2 trainer.max_epochs=5,10",
    "--shell-completion": 'completion of options: eval "$(python train.py --shell-completion install=bash)"',
}
IN_YAML = re.compile(r"^(\w+): (.*?) +# (.*)$", re.MULTILINE)
IN_PYTHON = re.compile(r'^    "(\w+)": "?(.*?)"?,  # (.*)$', re.MULTILINE)


def help_text(script: Path) -> str:
    """The docstring of `script`, then what configs/ offers: nothing is composed, so it comes at once."""
    source = script.read_text(encoding="utf-8")
    about = ast.get_docstring(ast.parse(source), clean=False) or ""
    folder = script.resolve().parent / "configs"
    written = (folder / "train.yaml").read_text(encoding="utf-8")
    entries = [entry for entry in yaml.safe_load(written)["defaults"] if isinstance(entry, dict)]
    groups: dict[str, list[str]] = {}
    for group, chosen in (item for entry in entries for item in entry.items()):
        groups[group] = chosen if isinstance(chosen, list) else [str(chosen)]
    keys = IN_YAML.findall(written)
    if own := IN_PYTHON.findall(source):
        keys = [(key, value.replace("None", "null"), comment) for key, value, comment in own]
        groups = {name: [] for name in CHANGEABLE}
    parts = {
        "Groups, a folder of configs/ each (* is the default):": [_group(folder / key, groups[key]) for key in groups],
        "Keys and their defaults:": [_row(key, f"{value:<10} {comment}") for key, value, comment in keys],
        "Each key of the files chosen can be set as well. Flags:": [_row(*flag) for flag in FLAGS.items()],
    }
    return "\n\n".join([about.strip(), *("\n".join([title, *filter(None, rows)]) for title, rows in parts.items())])


def _group(folder: Path, chosen: list[str]) -> str:
    names = [f"{file.stem}{'*' * (file.stem in chosen)}" for file in sorted(folder.glob("*.yaml"))]
    return _row(folder.name, ", ".join(names)) if names else ""


def _row(name: str, text: str) -> str:
    return textwrap.fill(f"  {name:<20} {text}", width=110, subsequent_indent=" " * 23)
