"""Every way to render that the README gives, through the real command line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, as_repository, cookiecutter_command, run


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_repository(tmp_path_factory.mktemp("remote") / "kindling.git")


def rendered(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_checkout_git_url_and_zip_render_the_same(checkout: Path, tmp_path: Path, user_config: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "kindling"), "zip", checkout.parent, checkout.name)
    sources = {"checkout": str(checkout), "git": f"file://{checkout}", "zip": archive}
    results = {}
    for name, source in sources.items():
        done = cookiecutter_command("--no-input", "-o", tmp_path / name, source, cwd=tmp_path, user_config=user_config)
        assert done.returncode == 0, done.stderr
        results[name] = rendered(tmp_path / name / "my-project")
    assert results["checkout"] == results["git"] == results["zip"]


def test_replay_renders_the_same_answers_again(tmp_path: Path, user_config: Path) -> None:
    first = ("--no-input", "-o", tmp_path / "first", ROOT, "project_name=Deep Finch", "license=Apache-2.0")
    assert cookiecutter_command(*first, cwd=tmp_path, user_config=user_config).returncode == 0
    again = ("--replay", "-o", tmp_path / "again", ROOT)
    done = cookiecutter_command(*again, cwd=tmp_path, user_config=user_config)
    assert done.returncode == 0, done.stderr
    assert rendered(tmp_path / "first" / "deep-finch") == rendered(tmp_path / "again" / "deep-finch")


@pytest.mark.parametrize(
    ("question", "answer", "expected", "template"),
    [
        ("starter", "../evil", "expected one of image_classification, ", str(ROOT)),
        ("license", "GPL", "expected one of MIT, ", "."),
        ("logger", None, "expected one of csv, ", str(ROOT)),
        ("description", 7, "expected text", str(ROOT)),
    ],
)
def test_a_replay_file_holds_choices_alone(
    question: str, answer: Any, expected: str, template: str, tmp_path: Path, user_config: Path
) -> None:
    first = ("--no-input", "-o", tmp_path / "first", ROOT)
    assert cookiecutter_command(*first, cwd=tmp_path, user_config=user_config).returncode == 0
    replay = json.loads((user_config.parent / "replay" / f"{ROOT.name}.json").read_text())
    replay["cookiecutter"][question] = answer
    (tmp_path / "replay.json").write_text(json.dumps(replay))
    words = ("--replay-file", tmp_path / "replay.json", "-o", tmp_path / "again", template)
    done = run(*(sys.executable, "-m", "cookiecutter", "--config-file", user_config, *words), cwd=ROOT, PWD=str(ROOT))
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("Kindling: ")]
    assert len(said) == 1, done.stdout + done.stderr
    assert said[0].startswith(f"Kindling: {question} ")
    assert expected in said[0]
    assert list((tmp_path / "again").iterdir()) == []


def test_next_steps_are_three_lines_to_paste(tmp_path: Path, user_config: Path) -> None:
    done = cookiecutter_command("--no-input", "-o", tmp_path, ROOT, cwd=tmp_path, user_config=user_config)
    lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("    ")]
    assert lines == [
        f"cd {tmp_path / 'my-project'}",
        'pip install -c constraints.txt -e ".[dev]"',
        "python train.py",
    ]
    assert not (tmp_path / "my-project" / ".git").exists()


def test_questions_can_be_answered_at_the_prompt(tmp_path: Path, user_config: Path) -> None:
    command = [sys.executable, "-m", "cookiecutter", "--config-file", str(user_config), "-o", str(tmp_path), str(ROOT)]
    answers = "Deep Finch\n\n\n\n\n\n2\n2\n1\n2\n3\n2\n2\n2\n2\n"
    done = subprocess.run(command, input=answers, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    project = tmp_path / "deep-finch"
    assert "BSD 3-Clause" in (project / "LICENSE").read_text()
    assert "tensorboard" in (project / "pyproject.toml").read_text()
    assert not (project / ".github").exists()
    assert (project / "Dockerfile").exists()
    assert (project / ".pre-commit-config.yaml").exists()
    assert (project / ".vscode" / "settings.json").exists()
    assert (project / "notebooks" / "finished_run.ipynb").exists()
    assert "uv pip install" in (project / "Makefile").read_text()
    assert "Project name (My Project)" in done.stdout


def test_an_answer_that_looks_like_a_tag_is_text_where_it_is_typed(tmp_path: Path, user_config: Path) -> None:
    command = [sys.executable, "-m", "cookiecutter", "--config-file", str(user_config), "-o", str(tmp_path), str(ROOT)]
    author = "{{ cookiecutter.license }}"
    done = subprocess.run(
        command, input=f"\n\n\n\n{author}\n" + "\n" * 20, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert author in (tmp_path / "my-project" / "LICENSE").read_text()
    assert author in (tmp_path / "my-project" / "pyproject.toml").read_text()
