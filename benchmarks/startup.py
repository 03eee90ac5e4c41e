"""Time until the commands of a rendered project answer, and until training begins.

    python benchmarks/startup.py [--rounds 9]      writes benchmarks/startup.md

Answers are compared with `python -c "import hydra"`, the time to the first training step with that of a process that
imports torch and pytorch_lightning and builds one Trainer. Medians of paired ratios: each round runs each command once.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
IMPORT_HYDRA = ["-c", "import hydra"]
ANSWERS = {
    "`train.py --help`": ["train.py", "--help"],
    "`evaluate.py --help`": ["evaluate.py", "--help"],
    "`predict.py --help`": ["predict.py", "--help"],
    "`train.py --cfg job`": ["train.py", "--cfg", "job"],
    "shell completion": ["train.py", "--shell-completion", "query=bash"],
    "unknown flag": ["train.py", "--fast"],
    "override that can't be parsed": ["train.py", "seed=["],
    "unknown option": ["train.py", "model=cnnn"],
    "unknown key": ["train.py", "trainer.max_stepss=1"],
    "wrong `_target_`": ["train.py", "model.network._target_=my_project.models.cnn.CNNN"],
    "wrong type": ["train.py", "model.optimizer.lr=abc"],
    "value out of range": ["train.py", "datamodule.batch_size=-4"],
    "wrong monitor": ["train.py", "monitor=val/acc"],
    "no such run (evaluate.py)": ["evaluate.py", "run=none"],
    "no such input (predict.py)": ["predict.py", "run=none", "input=none"],
}
IMPORTS = "import torch, pytorch_lightning; pytorch_lightning.Trainer(logger=False, enable_checkpointing=False)"
# A callback such as a user would add: reports when the first step is done, and ends the process.
FIRST_STEP = """
import os
from pytorch_lightning import Callback


class FirstStep(Callback):
    def on_train_batch_end(self, *args):
        os._exit(0)
"""
PARTS = ("hydra", "pydantic", "torch", "pytorch_lightning", "sklearn.datasets", "matplotlib.figure")


def seconds(words: list[str], cwd: Path) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True)
    return time.perf_counter() - start


def import_times(words: list[str], cwd: Path) -> dict[str, float]:
    """Return the seconds that each of PARTS takes to import in one run, with all that it imports."""
    done = subprocess.run([sys.executable, "-X", "importtime", *words], cwd=cwd, capture_output=True, text=True)
    times = re.findall(r"import time: +\d+ \| +(\d+) \| +(\S+)$", done.stderr, re.MULTILINE)
    return {name: int(microseconds) / 1e6 for microseconds, name in times if name in PARTS}


def tables(
    rounds: int,
    ratios: dict[str, list[float]],
    training: list[float],
    parts: dict[str, float],
    whole: dict[str, float],
) -> str:
    """Return the text of startup.md; `parts` and `whole` are import times of a training and of its reference."""
    lines = [
        "# Start-up\n",
        f"Medians over {rounds} rounds; made by `python benchmarks/startup.py`, which says how.\n",
        '| command | times `python -c "import hydra"` (goal: at most 2.5) |',
        "|---|---|",
        *(f"| {name} | {statistics.median(values):.2f} |" for name, values in ratios.items()),
        "\nFrom the command to the end of the first training step: "
        f"**{statistics.median(training):.2f}** times what it takes to import torch and pytorch_lightning and to build "
        "one Trainer (goal: at most 1.25).\n",
        "Where the rest goes, as seconds of imports in one run, each with what it imports itself:\n",
        "| import | train.py to the first step | torch, pytorch_lightning, one Trainer |",
        "|---|---|---|",
        *(f"| {name} | {parts.get(name, 0):.2f} | {whole.get(name, 0):.2f} |" for name in PARTS),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "startup.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(cookiecutter(str(ROOT), no_input=True, output_dir=folder))
        (project / "my_project" / "callbacks" / "first_step.py").write_text(FIRST_STEP)
        first_step = ["train.py", "callbacks=[default,report]", "name=first"]
        first_step.append("++callbacks.first={_target_:my_project.callbacks.first_step.FirstStep}")
        ratios: dict[str, list[float]] = {name: [] for name in ANSWERS}
        training: list[float] = []
        for number in range(arguments.rounds + 1):
            hydra = seconds(IMPORT_HYDRA, project)
            answers = {name: seconds(words, project) / hydra for name, words in ANSWERS.items()}
            imports = seconds(["-c", IMPORTS], project)
            subprocess.run(["rm", "-rf", project / "runs"], check=True)
            first = seconds(first_step, project) / imports
            if number:  # the first round warms up
                training.append(first)
                for name, ratio in answers.items():
                    ratios[name].append(ratio)
        subprocess.run(["rm", "-rf", project / "runs"], check=True)
        parts = import_times(first_step, project)
        whole = import_times(["-c", IMPORTS], project)
    text = tables(arguments.rounds, ratios, training, parts, whole)
    print(text)
    arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
