"""Projects rendered by cruft take up changes of the template, and keep what their owner wrote."""

import json
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Bake, as_repository, commit, metadata_of, pyproject_of, run, tool

CRUFT = tool("cruft")
STARTER = "{{cookiecutter.project_slug}}/_starters/image_classification"
SLUG, PACKAGE = "{{cookiecutter.project_slug}}", "{{cookiecutter.package_name}}"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return as_repository(tmp_path / "template")


@pytest.fixture
def project(template: Path, user_config: Path, tmp_path: Path) -> Path:
    """A project rendered by cruft, with a model and a config that its owner has edited."""
    words = ("create", template, "--no-input", "--config-file", user_config, "--output-dir", tmp_path)
    done = run(CRUFT, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    project = tmp_path / "my-project"
    run("git", "init", "--quiet", cwd=project)
    commit(project, "Render")
    edit(project / "my_project" / "models" / "cnn.py", '"""', '"""My own network. ')
    edit(project / "configs" / "train.yaml", "max_epochs: 40", "max_epochs: 7")
    commit(project, "Edit")
    return project


def update(project: Path) -> str:
    done = run(CRUFT, "update", "--skip-apply-ask", "--allow-untracked-files", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_an_update_is_merged_and_edits_are_kept_twice_in_a_row(template: Path, project: Path) -> None:
    root = template / SLUG
    (root / "NOTES.md").write_text("# What is new in {{ cookiecutter.project_name }}\n")
    edit(root / PACKAGE / "engine" / "training" / "resume.py", '"""', '"""Changed in the template. ')
    edit(root / "pyproject.toml", '"pillow>=11"', '"pillow>=11.1"')
    edit(root / "_starters" / "_train.yaml", "seed: 0", "seed: 0 # changed in the template")
    commit(template, "Change an engine file, a dependency, a config; add a file")
    assert run(CRUFT, "check", cwd=project).returncode != 0
    assert "max_epochs: 7" in run(CRUFT, "diff", cwd=project).stdout

    update(project)
    assert (project / "NOTES.md").read_text() == "# What is new in My Project\n"
    assert "Changed in the template" in (project / "my_project" / "engine" / "training" / "resume.py").read_text()
    assert "pillow>=11.1" in metadata_of(project)["dependencies"]
    assert "My own network" in (project / "my_project" / "models" / "cnn.py").read_text()
    config = (project / "configs" / "train.yaml").read_text()
    assert "max_epochs: 7" in config
    assert "changed in the template" in config
    assert run(CRUFT, "check", cwd=project).returncode == 0
    commit(project, "Update")

    edit(template / STARTER / PACKAGE / "models" / "mlp.py", '"""', '"""Changed again. ')
    commit(template, "Change a model")
    update(project)
    assert "Changed again" in (project / "my_project" / "models" / "mlp.py").read_text()
    assert "My own network" in (project / "my_project" / "models" / "cnn.py").read_text()
    assert list(project.rglob("*.rej")) == []
    words = ("-n", "0", "-p", "no:cacheprovider", "tests/test_models.py", "tests/test_configs.py")
    done = run(sys.executable, "-m", "pytest", *words, cwd=project)
    assert done.returncode == 0, done.stdout


def test_a_conflict_is_shown_and_nothing_is_lost(template: Path, project: Path) -> None:
    edit(template / STARTER / "_train.yaml", "max_epochs: 40", "max_epochs: 50")
    commit(template, "Train longer")
    said = update(project)
    config = (project / "configs" / "train.yaml").read_text()
    rejected = "".join(path.read_text() for path in project.rglob("*.rej"))
    assert "max_epochs: 7" in config
    assert "max_epochs: 50" in config + rejected
    assert "conflict" in said.lower() or ".rej" in said


def test_a_project_knows_the_version_of_its_template(bake: Bake) -> None:
    version = pyproject_of(bake())["tool"]["kindling"]["version"]
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_year_of_the_licence_stays_that_of_the_first_render(project: Path) -> None:
    context = json.loads((project / ".cruft.json").read_text())["context"]["cookiecutter"]
    assert context["__year"] in (project / "LICENSE").read_text()
