"""The pages of docs/ build without a broken link, and every command in them is run by a test."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import yaml
from conftest import CHOICES, ROOT, Bake, run, tool, with_engine_tests

PAGES = [
    ROOT / "docs" / each for page in yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"] for each in page.values()
]
COMMANDS = [
    line
    for page in PAGES
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
]
# Commands other than the project's own (`python train.py`), and the tests that run them.
ELSEWHERE = {
    "cookiecutter gh:org/kindling": "test_ways_to_render.py",
    "cruft": "test_updates.py",
    "pytest": "test_rendered.py",
    "cd": "test_fresh_install.py",
    "python3 -m venv": "test_fresh_install.py",
    ".": "test_fresh_install.py",
    "pip install": "test_fresh_install.py",
}


def test_the_site_builds_without_a_broken_link_and_tells_every_answer(tmp_path: Path) -> None:
    done = run(
        tool("mkdocs"),
        "build",
        "--strict",
        "--site-dir",
        tmp_path / "site",
        cwd=ROOT,
        NO_MKDOCS_2_WARNING="1",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    start = (tmp_path / "site" / "start" / "index.html").read_text(encoding="utf-8")
    for question, answers in CHOICES.items():
        for word in (question, *answers):
            assert f"<code>{word}</code>" in start, word


def test_readme_tells_every_choice() -> None:
    table = runpy.run_path(str(ROOT / "docs" / "questions.py"))["overview"]()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"## The questions\n\n{table}\n" in readme, "python docs/questions.py writes the table"


def test_reference_is_what_the_code_says(tmp_path: Path) -> None:
    written = tmp_path / "reference.md"
    done = run(sys.executable, ROOT / "docs" / "reference.py", written, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert text.splitlines() == written.read_text(encoding="utf-8").splitlines(), "python docs/reference.py writes it"


def test_figures_of_the_starters_are_those_that_were_measured() -> None:
    """README.md and the table come from one file: python benchmarks/starters.py writes all three."""
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "starters.py"))
    entries = json.loads((ROOT / "benchmarks" / "starters.json").read_text(encoding="utf-8"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert list(entries) == CHOICES["starter"]
    assert benchmark["readme"](text, entries) == text
    assert benchmark["readme"](text.replace("| accuracy 0.", "| accuracy 1."), entries) == text
    rows = [benchmark["row"](*item) for item in entries.items()]
    assert (ROOT / "benchmarks" / "starters.md").read_text(encoding="utf-8").splitlines()[-len(rows) :] == rows


def test_every_table_of_a_benchmark_names_the_command_that_makes_it() -> None:
    for table in (ROOT / "benchmarks").glob("*.md"):
        named = re.search(r"`(?:python (benchmarks/\w+\.py)|make (\w+))", table.read_text(encoding="utf-8"))
        assert named is not None, table
        assert (ROOT / named[1]).is_file() if named[1] else f"\n{named[2]}:" in (ROOT / "Makefile").read_text()


@pytest.mark.long
def test_every_command_does_what_the_pages_say(bake: Bake) -> None:
    """The commands run in order, in one project, with the pages in place of its README."""
    project = with_engine_tests(bake())
    (project / "README.md").write_text("\n".join(page.read_text(encoding="utf-8") for page in PAGES))
    words = ("-n", "0", "-p", "no:cacheprovider", "tests/test_readme.py", "-k", "every_command")
    done = run(sys.executable, "-m", "pytest", *words, cwd=project)
    assert done.returncode == 0, done.stdout[-6000:]


def test_what_is_no_command_of_a_project_is_run_by_another_test() -> None:
    others = [line for line in COMMANDS if not line.startswith("python ")]
    assert len(COMMANDS) > len(others) > 5
    assert [line for line in others if not line.startswith((*ELSEWHERE,))] == []
    assert all((ROOT / "tests" / name).is_file() for name in ELSEWHERE.values())


def test_the_first_page_fits_on_one_screen() -> None:
    assert len((ROOT / "docs" / "index.md").read_text().splitlines()) <= 25
