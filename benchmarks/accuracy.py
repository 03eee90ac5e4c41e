"""Test accuracy of the default project over seeds 0–9, compared with two scikit-learn classifiers on the same splits.

    python benchmarks/accuracy.py [model …]      writes benchmarks/accuracy.md

The project is rendered as a user gets it and trained by its own train.py; the seed also decides the split. Settings
were chosen on the validation split only. `train` is the time from the first to the last epoch, without imports.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import torch
from cookiecutter.main import cookiecutter
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ROOT = Path(__file__).resolve().parents[1]
SEEDS = range(10)
BASELINES = {
    "logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "1 nearest neighbour": lambda: KNeighborsClassifier(1),
    "3 nearest neighbours": lambda: KNeighborsClassifier(3),
}


def train(project: Path, model: str) -> list[tuple[float, float, float]]:
    """Return validation accuracy, test accuracy and seconds for each seed, trained in turn in one process."""
    seeds = ",".join(map(str, SEEDS))
    command = [sys.executable, "train.py", "--multirun", f"model={model}", f"seed={seeds}"]
    subprocess.run([*command, "datamodule.split_seed=${seed}"], cwd=project, check=True, stdout=subprocess.DEVNULL)
    results = []
    for run in (project / "runs").glob(f"*_{model}"):
        metrics = json.loads((run / "metrics.json").read_text())
        times = json.loads((run / "provenance.json").read_text())
        seconds = datetime.fromisoformat(times["end"]) - datetime.fromisoformat(times["start"])
        results.append((metrics["val"]["accuracy"], metrics["test"]["accuracy"], seconds.total_seconds()))
    assert len(results) == len(SEEDS)
    return results


def baseline(project: Path, make: object, seed: int) -> tuple[float, float]:
    """Return validation and test accuracy of a scikit-learn classifier on the split of `seed`."""
    sys.path.insert(0, str(project))
    from my_project.datamodules.digits import DigitsDataModule

    data = DigitsDataModule(split_seed=seed)
    data.setup()
    flat = {name: (x.flatten(1).numpy(), y.numpy()) for name, (x, y) in data.splits.items()}
    classifier = make().fit(*flat["train"])
    return classifier.score(*flat["val"]), classifier.score(*flat["test"])


def row(name: str, results: list[tuple[float, ...]]) -> str:
    val, test = [result[0] for result in results], [result[1] for result in results]
    seconds = f"{statistics.median(result[2] for result in results):.0f}" if len(results[0]) > 2 else "–"
    return (
        f"| {name} | {statistics.mean(val):.4f} | **{statistics.mean(test):.4f}** | {min(test):.4f} "
        f"| {max(test):.4f} | {seconds} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*", default=["cnn", "mlp"])
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "accuracy.md")
    arguments = parser.parse_args()
    lines = [
        "# Accuracy on the digits\n",
        f"Mean over seeds {SEEDS[0]}–{SEEDS[-1]} (initial weights, order and split), {torch.get_num_threads()} cores, "
        "no GPU; made by `python benchmarks/accuracy.py`.\n",
        "| | validation | test, mean | worst seed | best seed | seconds to train and test |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        project = Path(cookiecutter(str(ROOT), no_input=True, output_dir=folder))
        for model in arguments.model:
            lines.append(row(f"`model={model}`", train(project, model)))
            print(lines[-1], flush=True)
        for name, make in BASELINES.items():
            lines.append(row(name, [baseline(project, make, seed) for seed in SEEDS]))
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
