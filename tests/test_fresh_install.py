"""A new user's first minutes: the first code block of the rendered README, verbatim, in a new environment."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import yaml
from conftest import TEMPLATE, Bake, run, tool


def install_and_train(project: Path, changed: dict[str, str], **environment: str) -> None:
    """Run the commands of the README in order, with three epochs of training."""
    block = re.search(r"```bash\n(.*?)```", (project / "README.md").read_text(), re.DOTALL)
    assert block is not None
    script = block[1]
    for old, new in {**changed, "python train.py": "python train.py name=first trainer.max_epochs=3"}.items():
        assert old in script
        script = script.replace(old, new)
    done = run("bash", "-euc", script, cwd=project, PYTHONPATH="", **environment)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    accuracy = json.loads((project / "runs" / "first" / "metrics.json").read_text())["test"]["accuracy"]
    assert accuracy > 0.8


def test_readme_installs_and_trains_in_a_new_environment(bake: Bake, tmp_path: Path) -> None:
    project = bake()
    install_and_train(project, {"python3 -m venv": f"{sys.executable} -m venv"})
    python = project / ".venv" / "bin" / "python"
    done = run(
        python,
        "-c",
        f"from my_project import load_run; print(type(load_run({str(project / 'runs/first')!r}).model).__name__)",
        cwd=tmp_path,
    )
    assert done.stdout.strip() == "Classifier", done.stderr
    # A logger that is added as a file, but not installed.
    for logger in ("tensorboard", "wandb", "mlflow"):
        name = f"configs/logger/{logger}.yaml"
        (project / "configs" / "logger").mkdir(exist_ok=True)
        text = (TEMPLATE / "_options" / "logger" / logger / name).read_text()
        (project / name).write_text(text.replace("{{ cookiecutter.project_slug }}", "my-project"))
        done = run(python, "train.py", f"logger={logger}", "name=unlogged", cwd=project)
        assert done.returncode == 2
        assert done.stderr.strip().endswith(f"pip install -c constraints.txt {logger}")
        assert len(done.stderr.strip().splitlines()) == 1
        assert not (project / "runs" / "unlogged").exists()


@pytest.mark.skipif("PIP_FIND_LINKS" not in os.environ, reason="without a folder of wheels uv would fetch CUDA's torch")
def test_readme_installs_and_trains_with_uv(bake: Bake) -> None:
    """Choosing torch's index needs a network, which a test must not need: a folder of wheels replaces it."""
    install_and_train(
        bake(environment="uv"),
        {
            "uv venv": f"{tool('uv')} venv --python {sys.executable}",
            "uv pip": str(tool("uv")) + " pip",
            " --torch-backend=auto": "",
        },
        UV_FIND_LINKS=os.environ["PIP_FIND_LINKS"],
        VIRTUAL_ENV="",
    )


@pytest.mark.long
def test_readme_installs_and_trains_with_what_conda_hands_to_pip(bake: Bake) -> None:
    """Conda runs pip beside environment.yml on a file with the lines under `pip:`. Here Python is that of a venv."""
    project = bake(environment="conda")
    asked = yaml.safe_load((project / "environment.yml").read_text())["dependencies"]
    (lines,) = [each["pip"] for each in asked if isinstance(each, dict)]
    (project / "condaenv.requirements.txt").write_text("\n".join(lines) + "\n")
    create = f"{sys.executable} -m venv .venv; .venv/bin/pip install --quiet -U -r condaenv.requirements.txt"
    commands = {"conda env create -f environment.yml": create, "conda activate my-project": ". .venv/bin/activate"}
    install_and_train(project, commands)
