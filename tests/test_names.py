"""Names: those derived from the project's name, and those refused in one line."""

import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from conftest import CHOICES, QUESTIONS, ROOT, Bake, cookiecutter_command, metadata_of, run
from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment

DERIVED = {
    "My Project": ("my-project", "my_project"),
    "Déjà Vu": ("deja-vu", "deja_vu"),
    "3D Nets": ("3d-nets", "project_3d_nets"),
    "my.project v2.0": ("my-project-v2-0", "my_project_v2_0"),
    "already-a-slug": ("already-a-slug", "already_a_slug"),
    "snake_case_name": ("snake-case-name", "snake_case_name"),
    "CamelCase": ("camelcase", "camelcase"),
    "  spaces   around  ": ("spaces-around", "spaces_around"),
    "Ångström & Söhne": ("angstrom-sohne", "angstrom_sohne"),
    "北京 nets": ("bei-jing-nets", "bei_jing_nets"),
    "A -- B": ("a-b", "a_b"),
    "naïve-Bayes.2": ("naive-bayes-2", "naive_bayes_2"),
    "Größe": ("grosse", "grosse"),
}
REFUSED = [
    *[{"project_slug": slug} for slug in ("a b", "-a", "a-", ".hidden", "../evil", "con", "NUL.txt", "lpt1", "naïve")],
    *[{"project_slug": slug} for slug in ("torch", "test", "hydra", "json", "a\\b", "x" * 101, "numpy", "a:b")],
    *[{"package_name": name} for name in ("class", "2fast", "with-dash", "My_Package", "torch", "hydra", "numpy")],
    *[{"package_name": name} for name in ("test", "json", "tests", "configs", "train", "con", "aux", "", "é", "a.b")],
    {"package_name": "x" * 41},
    {"project_name": "   ", "project_slug": "fine"},
    {"author_name": ""},
    {"description": "two\nlines"},
    {"author_email": "a\x07b"},
    *[
        {"author_email": email}
        for email in ("none", "me at uni.edu", "a@b", "a@@b.org", "a@b.org>", ".a@b.org", "é@b.org")
    ],
    {"package_name": "tokenizers", "starter": "language_modeling"},
    {"project_slug": "base", "environment": "conda"},
]


@pytest.mark.parametrize("name", DERIVED)
def test_slug_and_package_are_derived_from_the_name(name: str) -> None:
    from cookiecutter.environment import StrictEnvironment

    environment: Environment = StrictEnvironment(context={"cookiecutter": {}}, keep_trailing_newline=True)
    answers = {"project_name": name}
    for question in ("project_slug", "package_name"):
        answers[question] = environment.from_string(QUESTIONS[question]).render(cookiecutter=answers)
    assert (answers["project_slug"], answers["package_name"]) == DERIVED[name]


def test_derived_names_render(bake: Bake) -> None:
    assert (bake(project_name="3D Déjà Vu") / "project_3d_deja_vu" / "engine").is_dir()


@pytest.mark.parametrize(("logger", "key"), [("wandb", "project"), ("mlflow", "experiment_name")])
def test_a_folder_that_yaml_takes_for_a_number_is_text(logger: str, key: str, bake: Bake) -> None:
    project = bake(project_slug="2026", package_name="own", logger=logger)
    done = run(sys.executable, "train.py", "--check", cwd=project)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((project / "configs" / "logger" / f"{logger}.yaml").read_text())[logger][key] == "2026"


@pytest.mark.parametrize("answers", REFUSED, ids=lambda answers: ascii(next(iter(answers.values())))[:30])
def test_refused_in_one_line_and_nothing_left_behind(
    answers: dict[str, str], tmp_path: Path, user_config: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    words = [f"{question}={answer}" for question, answer in answers.items()]
    done = cookiecutter_command("--no-input", "-o", out, ROOT, *words, cwd=tmp_path, user_config=user_config)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("Kindling: ")]
    assert len(said) == 1, done.stderr
    assert next(iter(answers)) in said[0]
    assert list(tmp_path.iterdir()) == [out]
    assert list(out.iterdir()) == []


def test_no_package_that_a_project_depends_on_can_be_hidden(bake: Bake) -> None:
    distributions = packages_distributions()
    every = [{question: choice} for question in ("logger", "starter") for choice in CHOICES[question]]
    for answers in every:
        metadata = metadata_of(bake(**answers, project_name=f"With {next(iter(answers.values()))}"))
        wanted = [*metadata["dependencies"], *metadata["optional-dependencies"]["dev"]]
        names = {re.match(r"[\w-]+", requirement)[0].lower().replace("_", "-") for requirement in wanted}
        imported = {name for name, owners in distributions.items() if names & {owner.lower() for owner in owners}}
        for package in (name for name in imported if not name.startswith("_")):
            with pytest.raises(FailedHookException):
                bake(**answers, package_name=package, project_name=f"Hides {package}")


def test_a_nested_slug_is_refused_and_leaves_no_file(tmp_path: Path, user_config: Path) -> None:
    """Cookiecutter makes the folders of a nested name before any hook runs, and removes only the innermost."""
    words = ("--no-input", "-o", tmp_path, ROOT, "project_slug=a/b")
    done = cookiecutter_command(*words, cwd=tmp_path, user_config=user_config)
    assert done.returncode != 0
    assert "Kindling: project_slug 'a/b'" in done.stderr
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]


@pytest.mark.parametrize("answer", ["project_slug=", "project_slug=.", "project_slug=..", "project_name=!!!"])
def test_a_slug_that_is_no_folder_is_refused_by_cookiecutter(answer: str, tmp_path: Path, user_config: Path) -> None:
    words = ("--no-input", "-o", tmp_path, ROOT, answer)
    assert cookiecutter_command(*words, cwd=tmp_path, user_config=user_config).returncode != 0
    assert list(tmp_path.iterdir()) == []


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_existing_project_is_kept_with_every_switch_of_cookiecutter(bake: Bake, user_config: Path) -> None:
    """With -f, and with -s too, it removes and copies whole folders: the user's own models, tests and configs."""
    project = bake()
    (project / "train.py").write_text("mine\n")
    (project / "my_project" / "models" / "mine.py").write_text("mine\n")
    (project / "tests" / "test_mine.py").write_text("mine\n")
    before = contents(project)
    for switches in ((), ("-f",), ("-f", "-s"), ("-f", "--keep-project-on-failure")):
        words = ("--no-input", *switches, "-o", project.parent, ROOT)
        done = cookiecutter_command(*words, cwd=project, user_config=user_config)
        assert done.returncode != 0
        assert "cruft update" in done.stderr or not switches
        assert contents(project) == before


def test_a_new_repository_can_be_rendered_into(tmp_path: Path, user_config: Path) -> None:
    """A clone of an empty repository, or a folder after `git init`, holds nothing that could be lost."""
    (tmp_path / "my-project").mkdir()
    run("git", "init", "--quiet", cwd=tmp_path / "my-project")
    words = ("--no-input", "-f", "-o", tmp_path, ROOT)
    assert cookiecutter_command(*words, cwd=tmp_path, user_config=user_config).returncode == 0
    assert (tmp_path / "my-project" / "train.py").is_file()
    assert (tmp_path / "my-project" / ".git" / "HEAD").is_file()


@pytest.mark.parametrize("name", ['Zoë "Ace" O\'Neil', "back\\slash", "a: b # c", "$(touch evil) `x`"])
def test_free_text_arrives_unchanged(name: str, bake: Bake) -> None:
    project = bake(author_name=name, description=name)
    metadata = metadata_of(project)
    assert metadata["authors"][0]["name"] == metadata["description"] == name
    assert name in (project / "README.md").read_text(encoding="utf-8")
    assert not (project / "evil").exists()
