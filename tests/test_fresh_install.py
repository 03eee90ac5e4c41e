"""A new user's first minutes: the first code block of the rendered README, to the letter, in a new environment."""

import json
import re
import sys
from pathlib import Path

from conftest import Bake, run


def test_readme_installs_and_trains_in_a_new_environment(bake: Bake, tmp_path: Path) -> None:
    project = bake()
    block = re.search(r"```bash\n(.*?)```", (project / "README.md").read_text(), re.DOTALL)
    assert block is not None
    script = block[1].replace("python3 -m venv", f"{sys.executable} -m venv")
    script = script.replace("python train.py", "python train.py name=first trainer.max_epochs=3")
    done = run("bash", "-euc", script, cwd=project, PYTHONPATH="")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    accuracy = json.loads((project / "runs" / "first" / "metrics.json").read_text())["test"]["accuracy"]
    assert accuracy > 0.8
    python = project / ".venv" / "bin" / "python"
    done = run(
        python,
        "-c",
        f"from my_project import load_run; print(type(load_run({str(project / 'runs/first')!r}).model).__name__)",
        cwd=tmp_path,
    )
    assert done.stdout.strip() == "Classifier", done.stderr
    for logger in ("tensorboard", "wandb", "mlflow"):
        done = run(python, "train.py", f"logger={logger}", "name=unlogged", cwd=project)
        assert done.returncode == 2
        assert done.stderr.strip().endswith(f"pip install -c constraints.txt {logger}")
        assert len(done.stderr.strip().splitlines()) == 1
        assert not (project / "runs" / "unlogged").exists()
