"""The schema by which an editor checks configs/: each file passes, and a mistake is seen."""

import fnmatch
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from jsonschema import Draft7Validator

from {{ cookiecutter.package_name }}.engine.cli.schema import schemas

SETTINGS = json.loads((ROOT / ".vscode" / "settings.json").read_text(encoding="utf-8"))["yaml.schemas"]
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("configs/**/*.yaml"))


@pytest.fixture(scope="module")
def mistakes() -> Callable[[str, Any], list[str]]:
    """What is wrong with the content of a file."""
    known = schemas(ROOT)

    def of(file: str, content: Any) -> list[str]:
        names = [
            Path(schema).stem
            for schema, patterns in SETTINGS.items()
            if any(
                fnmatch.fnmatch(file, pattern) for pattern in ([patterns] if isinstance(patterns, str) else patterns)
            )
        ]
        assert len(names) == 1, f"{file} has {len(names)} schemas"
        Draft7Validator.check_schema(known[names[0]])
        return [error.message for error in Draft7Validator(known[names[0]]).iter_errors(content)]

    return of


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_right(file: str, mistakes: Callable[[str, Any], list[str]]) -> None:
    assert mistakes(file, yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("train.yaml", "seeed", 1),
        ("train.yaml", "mode", "least"),
        ("trainer/default.yaml", "max_epoch", 3),
        ("trainer/default.yaml", "max_epochs", "three"),
        ("callbacks/early_stopping.yaml", "early_stopping.patiense", 3),
        ("callbacks/early_stopping.yaml", "early_stopping.patience", "long"),
    ],
)
def test_a_mistake_is_seen(file: str, key: str, value: Any, mistakes: Callable[[str, Any], list[str]]) -> None:
    content = yaml.safe_load((ROOT / "configs" / file).read_text(encoding="utf-8"))
    *groups, last = key.split(".")
    node = content
    for group in groups:
        node = node[group]
    node[last] = value
    assert mistakes(f"configs/{file}", content) != []
