"""Hostile answers: either refused in one line, or every file parses and the text comes back unchanged.

make fuzz CASES=3000 [SEED=7]
"""

import ast
import contextlib
import importlib
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from email.headerregistry import Address
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
import yaml
from conftest import CHOICES, QUESTIONS, ROOT, metadata_of
from cookiecutter.exceptions import CookiecutterException, FailedHookException
from cookiecutter.main import cookiecutter
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

CASES = int(os.environ.get("ANSWER_CASES", "500"))
SEED = int(os.environ.get("FUZZ_SEED", "0")) or random.randrange(1, 10**6)
TAGS = ("{{", "{%", "{#")

pytestmark = pytest.mark.long

# Texts with a meaning in Python, Jinja, TOML, YAML, Markdown, a shell, a terminal or a file system.
PARTS = [
    "'", '"', "'''", '"""', "\\", "\\n", "\\u0041", "\\N{DASH}", "\n", "\r", "\t", "\0", "\x1b[31m", "\x7f",
    "\x85", "\u2028", "{{ 7 * 7 }}", "{{", "}}", "{% raw %}", "{% if %}", "{# #}", "{{ cookiecutter.license }}",
    "${HOME}", "${{ env.X }}", "$(touch evil)", "`touch evil`", "; touch evil", "&& touch evil #", "| cat",
    "%s", "{0}", "#", ": ", "- ", "[x]", "](y)", "<b>", "&amp;", "***", "```", "---", "!!python/name:os.system",
    "*a", "&a", "@", "=", "[project]", "..", "../", "/", "/etc/evil", "C:\\evil", "-", "--help", ".", "~", " ",
    "", "é", "ß", "北京", "😀", "👩‍🔬", "שלום", "مرحبا", "\u202e", "\u200b", "\ufeff", "\ud800", "a" * 300, "Deep",
    "Finch", "ada@example.org", "@", "none", "0", "class", "con",
]  # fmt: skip
TEXT = st.one_of(
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map("".join),
    st.text(max_size=20),
    st.sampled_from(["Deep Finch", "deep_finch", "deep-finch"]),
)
ASKED = ("project_name", "description", "author_name", "author_email", "project_slug", "package_name")
# One or two hostile answers of six: with more, nearly all cases would be refused for their name.
ANSWERS = st.dictionaries(st.sampled_from([*ASKED[:4] * 3, *ASKED]), TEXT, min_size=1, max_size=3)
# The default choices, and the last one of each question.
CHOSEN = ({}, {question: choices[-1] for question, choices in CHOICES.items()} | {"license": "MIT", "ci": "gitlab"})


@contextlib.contextmanager
def words_of_hooks() -> Iterator[list[str]]:
    """Collect the lines that this process and its children write."""
    said: list[str] = []
    kept = {number: os.dup(number) for number in (1, 2)}
    with TemporaryFile() as file:
        for number in kept:
            os.dup2(file.fileno(), number)
        try:
            yield said
        finally:
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)
            file.seek(0)
            said += file.read().decode("utf-8", "replace").splitlines()


def changed_files(project: Path, default: Path, package: str) -> Iterator[Path]:
    """Return the files that differ from the default project in any byte."""
    for path in (path for path in project.rglob("*") if path.is_file()):
        top, *rest = path.relative_to(project).parts
        twin = default.joinpath("my_project" if top == package else top, *rest)
        if path.read_bytes() != twin.read_bytes():
            yield path


def check_rendered(project: Path, default: Path, answers: dict[str, Any], help_text: Any) -> None:
    """Check that every file parses, and that each answer is where it belongs."""
    package = next(path.parent.name for path in project.glob("*/engine"))
    for path in changed_files(project, default, package):
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            ast.parse(content)
        elif path.suffix in (".yaml", ".yml"):
            yaml.safe_load(content)
        elif path.suffix in (".json", ".ipynb"):
            json.loads(content)
    expected = {**QUESTIONS, **answers}
    metadata = metadata_of(project)
    assert metadata["name"] == project.name
    assert metadata["description"] == expected["description"]
    assert metadata["authors"][0]["name"] == expected["author_name"]
    email = metadata["authors"][0].get("email", "")
    assert email == expected["author_email"]
    assert not email or Address(addr_spec=email)  # hatchling parses it like this, so pip can install the project
    readme = (project / "README.md").read_bytes().decode("utf-8").split("\n")
    assert readme[0] == f"# {expected['project_name']}"
    assert readme[2] == expected["description"]
    assert expected["description"] in help_text(project / "train.py")


def rendered(answers: dict[str, str], out: Path, user_config: Path) -> tuple[str, Path | None, list[str]]:
    """Return the outcome (rendered, refused, or refused by cookiecutter), the project, and the lines written."""
    with words_of_hooks() as said:
        try:
            made = cookiecutter(
                str(ROOT), no_input=True, config_file=str(user_config), output_dir=str(out), extra_context=answers
            )
            return "rendered", Path(made), said
        except FailedHookException:
            return "refused", None, said
        except (CookiecutterException, TemplateError, OSError, ValueError):
            return "refused by cookiecutter", None, said


def check_refused(end: str, said: list[str], out: Path, answers: dict[str, str]) -> None:
    """Check for one line of ours or cookiecutter's own refusal, and no file left behind."""
    lines = [line for line in said if line.startswith("Kindling: ")]
    assert len(lines) == (end == "refused"), said
    if "project_slug" not in answers and end == "refused by cookiecutter":
        # Cookiecutter renders a given answer as a template, and ends if that fails.
        assert any(tag in answer for answer in answers.values() for tag in TAGS), answers
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_hostile_answers_are_refused_or_come_back_unchanged(
    tmp_path: Path, user_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, here = tmp_path / "out", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    defaults = [rendered(chosen, tmp_path / f"default_{n}", user_config)[1] for n, chosen in enumerate(CHOSEN)]
    helper = rendered({"project_name": "Reads Help"}, tmp_path, user_config)[1]
    monkeypatch.syspath_prepend(str(helper))
    help_text = importlib.import_module("reads_help.engine.cli.help").help_text
    ended: Counter[str] = Counter()

    @seed(SEED)
    @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @example({"description": 'Say "hi" \\ {0} 😀 \u202eשלום', "author_name": "Zoë # O'Neil"}, 0)
    @example({"description": 'Say "hi" \\ {0} 😀 \u202eשלום', "author_name": "Zoë # O'Neil", "project_name": "1e3"}, 1)
    @example({"description": "{{ 7 * 7 }}"}, 0)
    @example({"project_name": "E"}, 0)
    @given(ANSWERS, st.sampled_from(range(len(CHOSEN))))
    def rendered_or_refused(answers: dict[str, str], chosen: int) -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        end, project, said = rendered({**CHOSEN[chosen], **answers}, out, user_config)
        ended[end] += 1
        assert list(here.iterdir()) == []
        if project:
            assert list(out.iterdir()) == [project]
            check_rendered(project, defaults[chosen], answers, help_text)
        else:
            check_refused(end, said, out, answers)

    rendered_or_refused()
    total = sum(ended.values())
    print(f"\n{total:,} cases, seed {SEED}: " + ", ".join(f"{count:,} {end}" for end, count in ended.most_common()))
    assert ended["rendered"] > total / 10
    assert ended["refused"] > total / 10
