"""Files for services and tools pass those tools' own checkers, and do what they say."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from conftest import CHOICES, DEFAULTS, Bake, commit, run, tool


def check(name: str, *words: str | Path, cwd: Path) -> None:
    """Check that a checker finds nothing."""
    done = run(tool(name), *words, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def steps_of(job: dict) -> list[str]:
    """Return the commands of a job, without comments."""
    lines = job["script"] if "script" in job else [step["run"] for step in job["steps"] if "run" in step]
    return [line.partition(" #")[0] for line in lines]


@pytest.mark.parametrize("environment", CHOICES["environment"])
def test_github_workflow_passes_schema_and_auditor(environment: str, bake: Bake) -> None:
    project = bake(ci="github", environment=environment)
    path = project / ".github" / "workflows" / "tests.yml"
    check("check-jsonschema", "--builtin-schema", "vendor.github-workflows", path, cwd=project)
    check("zizmor", "--offline", "--persona", "pedantic", "--min-severity", "low", path, cwd=project)
    actions = re.findall(r"uses: (.*)", path.read_text())
    assert actions
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in actions)


@pytest.mark.parametrize("environment", CHOICES["environment"])
def test_gitlab_pipeline_passes_the_published_schema(environment: str, bake: Bake) -> None:
    project = bake(ci="gitlab", environment=environment)
    words = ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci")
    check("check-jsonschema", *words, project / ".gitlab-ci.yml", cwd=project)
    assert not (project / ".github").exists()


@pytest.mark.parametrize("environment", CHOICES["environment"])
def test_both_services_run_the_same_commands(environment: str, bake: Bake) -> None:
    project = bake(ci="github", environment=environment)
    github = yaml.safe_load((project / ".github" / "workflows" / "tests.yml").read_text())["jobs"]
    project = bake(ci="gitlab", environment=environment, project_name="At GitLab")
    gitlab = yaml.safe_load((project / ".gitlab-ci.yml").read_text())
    for job in ("tests", "newest"):
        steps = [steps_of(service[job]) for service in (github, gitlab)]
        if environment == "conda":  # each service keeps its environment elsewhere
            made = [[step for step in each if "/env" in step] for each in steps]
            for created, on_path in made:
                prefix = re.fullmatch(r"\S*conda env create --quiet -f environment.yml -p (.*)", created)
                assert prefix
                assert prefix[1].strip('"') + "/bin" in on_path
            steps = [[step for step in each if "/env" not in step] for each in steps]
        assert steps[0] == steps[1]
        assert steps[0][-1] == "pytest"
        if environment == "conda" and job == "newest":
            before = yaml.safe_load((project / "environment.yml").read_text())
            assert run("bash", "-euc", steps[0][0], cwd=project).returncode == 0
            after = yaml.safe_load((project / "environment.yml").read_text())
            before["dependencies"][-1]["pip"].remove("-c constraints.txt")
            assert after == before
    if environment != "conda":  # its environment.yml names one Python
        versions = gitlab["tests"]["parallel"]["matrix"][0]["PYTHON"]
        assert github["tests"]["strategy"]["matrix"]["python"] == versions == ["3.11", "3.12", "3.13", "3.14"]


def test_conda_is_asked_for_what_it_can_read(bake: Bake) -> None:
    """No channel can be reached here: rattler, the library of pixi, parses the file."""
    from rattler import Channel, MatchSpec, Version

    project = bake(environment="conda", project_slug="1e3")  # a number, if YAML parses it as one
    environment = yaml.safe_load((project / "environment.yml").read_text())
    assert environment["name"] == "1e3"
    assert Channel(environment["channels"][0]).name == "conda-forge"
    asked = [MatchSpec(each, strict=True) for each in environment["dependencies"] if isinstance(each, str)]
    assert [each.name.normalized for each in asked] == ["python", "pip"]
    python = Version(str(asked[0].version).removesuffix(".*"))
    assert Version("3.11") <= python < Version("3.15")


@pytest.mark.parametrize("environment", CHOICES["environment"])
def test_dockerfile_passes_hadolint(environment: str, bake: Bake) -> None:
    project = bake(container="docker", environment=environment)
    check("hadolint", "Dockerfile", cwd=project)
    assert re.search(r"^USER 1000$", (project / "Dockerfile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("environment", ["pip", "conda"])
def test_the_first_layer_of_the_dockerfile_installs(environment: str, bake: Bake, tmp_path: Path) -> None:
    """No daemon runs here: the COPY and RUN of the dependency layer are carried out by hand, in a folder."""
    project = bake(container="docker", environment=environment)
    text = (project / "Dockerfile").read_text()
    copied = re.search(r"^COPY --chown=\S+ (.*) \./$", text, re.MULTILINE)
    script = re.search(r"^RUN --mount=\S+ \\\n((?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert copied
    assert script
    layer = tmp_path / "layer"
    layer.mkdir()
    for pattern in copied[1].split():
        for path in project.glob(pattern):
            shutil.copy(path, layer)
    install = f"{sys.executable} -m pip install --quiet --no-deps --target site"
    words = script[1].replace("pip install", install)
    if environment == "conda":
        asked = yaml.safe_load((layer / "environment.yml").read_text())["dependencies"][-1]["pip"]
        assert asked == ["-c constraints.txt", "-e .[dev]"]
        assert (layer / "constraints.txt").is_file()
        created = "conda env create --quiet -f environment.yml && conda clean --all --yes"
        assert created in words
        words = words.replace(created, f"{install} -e .")
    # The dependencies are installed; the test is that the project installs before its code is there.
    done = run("bash", "-euc", words, cwd=layer)
    assert done.returncode == 0, done.stderr
    shutil.copytree(project / "my_project", layer / "my_project", dirs_exist_ok=True)
    program = "import my_project.engine.errors as errors; print(errors.__file__)"
    done = run(sys.executable, "-c", f"import site; site.addsitedir('site'); {program}", cwd=layer, PYTHONSAFEPATH="1")
    assert done.stdout.strip() == str(layer / "my_project" / "engine" / "errors.py"), done.stderr


@pytest.mark.parametrize("environment", CHOICES["environment"])
def test_devcontainer_uses_the_dockerfile(environment: str, bake: Bake) -> None:
    project = bake(container="docker", environment=environment)
    settings = yaml.safe_load((project / ".devcontainer" / "devcontainer.json").read_text())
    assert (project / ".devcontainer" / settings["build"]["dockerfile"]).resolve() == project / "Dockerfile"
    # Not `make install`: the images have no make.
    assert f"install:\n\t{settings['postCreateCommand']}\n" in (project / "Makefile").read_text()


def test_pre_commit_holds_back_what_the_linter_would_mend(bake: Bake) -> None:
    project = bake(git_hooks="pre-commit")
    run("git", "init", "--quiet", cwd=project)
    commit(project, "Begin")
    path = f"{tool('ruff').parent}{os.pathsep}{os.environ['PATH']}"
    home = str(project.parent / "home")
    words = (tool("pre-commit"), "run", "--all-files")
    done = run(*words, cwd=project, PATH=path, PRE_COMMIT_HOME=home)
    assert done.returncode == 0, done.stdout + done.stderr
    (project / "my_project" / "models" / "own.py").write_text("import  os\n")
    run("git", "add", "--all", cwd=project)
    done = run(*words, cwd=project, PATH=path, PRE_COMMIT_HOME=home)
    assert done.returncode == 1
    assert "import" not in (project / "my_project" / "models" / "own.py").read_text()


@pytest.mark.parametrize("starter", CHOICES["starter"])
def test_an_editor_is_told_what_each_config_may_hold(starter: str, bake: Bake) -> None:
    project = bake(editor="vscode", starter=starter)
    done = run(sys.executable, "-m", "my_project.engine.cli.schema", cwd=project)
    assert done.returncode == 0, done.stderr
    named = json.loads((project / ".vscode" / "settings.json").read_text())["yaml.schemas"]
    assert all((project / path).is_file() for path in named)
    done = run(sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "tests/test_schema.py", cwd=project)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("question", ["license", "ci", "container", "git_hooks"])
def test_choices_that_change_no_code_leave_it_as_it_is(question: str, bake: Bake) -> None:
    """So the results of the rendered tests, which run on the default answers, hold for these choices too."""

    def code(project: Path) -> dict[str, bytes]:
        kept = [*project.rglob("*.py"), *project.rglob("configs/**/*.yaml"), project / "constraints.txt"]
        return {path.relative_to(project).as_posix(): path.read_bytes() for path in kept}

    default = code(bake())
    for number, choice in enumerate(CHOICES[question]):
        if choice != DEFAULTS[question]:
            other = {"project_name": f"Other {number}", "project_slug": f"other-{number}", "package_name": "my_project"}
            rendered = code(bake(**other, **{question: choice}))
            differing = {name for name in default.keys() | rendered.keys() if default.get(name) != rendered.get(name)}
            assert differing <= {"configs/logger/mlflow.yaml", "configs/logger/wandb.yaml"}  # they name the project
