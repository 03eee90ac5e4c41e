"""The rendered files, for every pair of choices in cookiecutter.json."""

import compileall
import json
import re
import sys
import textwrap
from itertools import product
from pathlib import Path

import pytest
import yaml
from conftest import CHOICES, PAIRS, ROOT, TEMPLATE, Bake, metadata_of, run, title, tool, with_engine_tests
from jinja2 import Environment, FileSystemLoader

LOGGERS = ("tensorboard", "wandb", "mlflow")
PART = re.compile(r"_[^/]+$")  # in an overlay: a part of another file
TAGS = re.compile(r"(?<!\$)\{\{|\{%|cookiecutter\.")


@pytest.fixture(params=PAIRS, ids=title)
def answers(request: pytest.FixtureRequest) -> dict[str, str]:
    return request.param


@pytest.fixture
def project(answers: dict[str, str], bake: Bake) -> Path:
    return bake(**answers)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def expected_files(answers: dict[str, str]) -> set[str]:
    """Return the files of the root, of the starter and what it shares, and of each chosen option; no others."""
    root = {name for name in files(TEMPLATE) if not name.startswith(("_starters/", "_shared/", "_options/"))}
    starter = TEMPLATE / "_starters" / answers["starter"]
    uses = starter / "_uses.txt"
    overlays = [starter, *(TEMPLATE / "_shared" / name for name in (uses.read_text().split() if uses.exists() else ()))]
    for question, answer in answers.items():
        overlays += [TEMPLATE / "_options" / question / name for name in (answer, f"{answer}+{answers['environment']}")]
    laid = (name for folder in overlays if folder.is_dir() for name in files(folder) if not PART.match(name))
    names = {name.replace("{{cookiecutter.package_name}}", "my_project") for name in root.union(laid)}
    return {name for name in names if "__pycache__" not in name}


def test_every_file_is_whole(project: Path) -> None:
    for path in (project / name for name in files(project)):
        content = path.read_bytes()
        assert content[-1:] == b"\n" != content[-2:-1], f"{path}: one newline at the end"
        assert b"\r" not in content, path
        assert not TAGS.search(content.decode("utf-8")), f"{path}: a template tag is left"
        if path.suffix in (".yaml", ".yml"):
            assert yaml.safe_load(content) is not None, path
        elif path.suffix == ".json":
            json.loads(content)
    assert compileall.compile_dir(project, quiet=1)


def test_tree_is_the_expected_one(project: Path, answers: dict[str, str]) -> None:
    assert files(project) == expected_files(answers)


def test_linter_formatter_and_type_checker_have_nothing_to_say(project: Path) -> None:
    for words in (["ruff", "check", "--no-cache"], ["ruff", "format", "--check", "--no-cache"]):
        done = run(sys.executable, "-m", *words, ".", cwd=project)
        assert done.returncode == 0, done.stdout + done.stderr
    for version in ("3.11", "3.14"):  # the lowest and the highest that pyproject.toml allows
        words = ("--python-version", version, "--python-interpreter-path", sys.executable)
        done = run(tool("pyrefly"), "check", *words, cwd=project)
        assert done.returncode == 0, done.stdout + done.stderr


def test_they_have_nothing_to_say_of_the_tests_of_the_engine(bake: Bake) -> None:
    test_linter_formatter_and_type_checker_have_nothing_to_say(with_engine_tests(bake()))


# The class that "Use your own data" in the README asks for, for a dataset that ships with scikit-learn.
OWN_DATA = {
    "image_classification": """
        import torch
        from sklearn.datasets import load_digits

        from .image_splits import LabelledImages
        from .images import ImageDataModule


        class OwnDataModule(ImageDataModule):
            def load_images(self) -> LabelledImages:
                digits = load_digits(n_class=3)
                images = torch.from_numpy(digits.images).float()[:, None] / 16
                return LabelledImages(images, torch.from_numpy(digits.target), ["0", "1", "2"], ids=range(len(images)))
        """,
    "super_resolution": """
        import torch
        from sklearn.datasets import load_sample_image

        from .regions import RegionDataModule


        class OwnDataModule(RegionDataModule):
            def load_images(self):
                yield "china.jpg", torch.tensor(load_sample_image("china.jpg")).permute(2, 0, 1)
        """,
    "tabular": """
        from pathlib import Path

        from sklearn.datasets import load_wine

        from .tabular import Table, TabularDataModule


        class OwnDataModule(TabularDataModule):
            def load_table(self) -> Table:
                return Table(load_wine(as_frame=True).frame, Path("wine"))
        """,
}


@pytest.mark.parametrize("starter", OWN_DATA)
def test_the_type_checker_accepts_a_first_datamodule_of_ones_own(starter: str, bake: Bake) -> None:
    project = bake(starter=starter)
    (project / "my_project" / "datamodules" / "own.py").write_text(textwrap.dedent(OWN_DATA[starter]).lstrip())
    done = run(tool("pyrefly"), "check", "--python-interpreter-path", sys.executable, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_depends_on_the_chosen_logger_alone(project: Path, answers: dict[str, str]) -> None:
    metadata = metadata_of(project)
    names = {re.split(r"[><=!]", requirement)[0] for requirement in metadata["dependencies"]}
    assert names.intersection(LOGGERS) == {answers["logger"]}.intersection(LOGGERS)


def test_licence_is_the_chosen_one_with_year_and_author(bake: Bake) -> None:
    for licence in CHOICES["license"]:
        project = bake(license=licence, author_name="Zoë Ångström", project_name=f"Under {licence}")
        metadata = metadata_of(project)
        if licence == "none":
            assert not (project / "LICENSE").exists()
            assert "license" not in metadata
        else:
            text = (project / "LICENSE").read_text(encoding="utf-8")
            assert re.search(r"Copyright (\(c\) )?20\d\d,? Zoë Ångström", text)
            assert metadata["license"] == licence


def test_readme_has_at_most_150_lines_for_each_set_of_answers() -> None:
    readme = Environment(loader=FileSystemLoader(TEMPLATE), autoescape=False).get_template("README.md")
    parts = "".join(path.read_text(encoding="utf-8") for path in TEMPLATE.glob("_starters/**/_README.md"))
    asked = {"starter": CHOICES["starter"]}
    asked |= {name: CHOICES[name] for name in CHOICES if f"cookiecutter.{name}" in parts}
    for chosen in product(*asked.values()):
        answers = dict(zip(asked, chosen, strict=True))
        lines = readme.render(cookiecutter=answers).splitlines()
        assert 100 < len(lines) <= 150, answers


def test_default_tree_is_that_of_the_snapshot(bake: Bake) -> None:
    """tests/default_tree.txt shows a reviewer what a change adds to every default project."""
    assert sorted(files(bake())) == (ROOT / "tests" / "default_tree.txt").read_text().splitlines()


def test_default_project_is_small(bake: Bake) -> None:
    project = bake()
    assert len(list(project.glob("configs/**/*.yaml"))) <= 24
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in project.rglob("*.py")}
    # All engineering code. Two goals are missed: 3,100 lines for what came before the safety of runs (it has 5,800 with
    # that), and 600 for runs.py and its room (1,110). The other 500 are status.json, the trackers and the progress bar.
    assert sum(count for path, count in lines.items() if "engine" in path.parts) <= 7561
    assert max(lines.values()) <= 400
    # Of these, runs.py, its room, the report page and its chart library are 13; images in Arrow files are 2; tests
    # of memory, which the image starters share with tables, are 1; several labels an image are 3;
    # DATA.md is 1; normalisation is 1.
    assert len(files(project)) <= 135
    done = run(sys.executable, "train.py", "--cfg", "job", cwd=project)
    assert len(done.stdout.splitlines()) <= 120, done.stderr
    info = run(sys.executable, "train.py", "--info", "defaults", cwd=project).stdout
    composed = re.findall(r"^\| (train|\w+/\w+) ", info, re.MULTILINE)
    assert len({name for name in composed if not name.startswith("hydra")}) == 6, info


def test_python_has_no_template_logic() -> None:
    assert [path for path in TEMPLATE.rglob("*.py") if "{%" in path.read_text(encoding="utf-8")] == []


def test_hooks_use_the_standard_library_alone() -> None:
    for hook in (ROOT / "hooks").glob("*.py"):
        imported = set(re.findall(r"^(?:import|from) (\w+)", hook.read_text(), re.MULTILINE))
        assert imported <= sys.stdlib_module_names
