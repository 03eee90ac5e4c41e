"""The pages of docs/ build without a broken link, and every command in them is run by a test."""

import json
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import markdown
import pytest
from conftest import CHOICES, ROOT, Bake, run, tool, with_engine_tests

PAGES = [
    ROOT / "docs" / each
    for page in tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    for each in page.values()
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


def build_site(folder: Path, more: str = "") -> subprocess.CompletedProcess[str]:
    """Build a copy of the pages, with more words at the end of one, into folder/site."""
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "zensical.toml", folder)
    with (folder / "docs" / "runs.md").open("a", encoding="utf-8") as page:
        page.write(more)
    return run(tool("zensical"), "build", "--strict", cwd=folder)


def test_the_site_builds_and_tells_every_answer(tmp_path: Path) -> None:
    done = build_site(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "site").rglob("*.py")) == []
    start = (tmp_path / "site" / "start.html").read_text(encoding="utf-8")
    for question, answers in CHOICES.items():
        for word in (question, *answers):
            assert f"<code>{word}</code>" in start, word


@pytest.mark.parametrize("link", ["nowhere.md", "how.md#nowhere", "#nowhere"])
def test_the_site_does_not_build_with_a_broken_link(link: str, tmp_path: Path) -> None:
    done = build_site(tmp_path, more=f"[broken]({link})\n")
    assert done.returncode == 1
    assert "does not exist" in done.stdout + done.stderr


def links(page: Path) -> list[tuple[str, str]]:
    """Return the attributes of a page that lead somewhere, or to which a link leads: ("href", "how.md#limits")."""
    html = markdown.markdown(page.read_text(encoding="utf-8"), extensions=["fenced_code", "tables", "toc"])
    return re.findall(r'<\w[^<>]*? (href|src|id)="([^"]*)"', html)


def test_every_link_image_and_anchor_is_there() -> None:
    """zensical looks at links between pages of docs/ alone, and not at images."""
    broken = []
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")):
        for attribute, link in links(page):
            path, _, anchor = link.partition("#")
            to = page.parent / path if path else page
            there = to.exists() and (not anchor or ("id", anchor) in links(to))
            if attribute != "id" and ":" not in path and not there:
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    assert sorted(PAGES) == sorted(ROOT.glob("docs/*.md"))


def test_readme_and_pages_tell_every_choice() -> None:
    questions = runpy.run_path(str(ROOT / "docs" / "questions.py"))
    for page, table in questions["PAGES"].items():
        text = page.read_text(encoding="utf-8")
        assert table() in text, "python docs/questions.py writes the table"
        assert questions["updated"](page) == text
        assert questions["updated"](page).count("<!-- questions -->") == 1


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
