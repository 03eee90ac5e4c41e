"""Each starter with its default settings over seeds 0–2, beside simple baselines on the same split.

    python benchmarks/starters.py [starter …] [--seeds 0 1 2] [--pictures docs/starters]

writes benchmarks/starters.md.

Each is rendered as a user gets it and trained through its own train.py. Metric, baselines and how much must be between
them are in the `_baselines.py` of the starter; the exit status is 1 where the mean over the seeds does not beat one by
that much. Time and peak memory are those of the whole process, imports and final test included.
"""

import argparse
import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from cookiecutter.main import cookiecutter
from hydra import compose, initialize_config_dir

ROOT = Path(__file__).resolve().parents[1]
STARTERS = ROOT / "{{cookiecutter.project_slug}}" / "_starters"
HEAD = """# Starters

Default settings, mean over {seeds} (worst – best), {threads} CPU threads, no GPU; by `python benchmarks/starters.py`.
Memory is the peak of the whole process, of which Python with torch and Lightning is about 0.5 GB.

| starter | metric of the test | starter | baselines | seconds | parameters | peak memory |
|---|---|---|---|---|---|---|
"""


class Run(NamedTuple):
    """What one training gave and took."""

    folder: Path
    metrics: dict[str, float]
    seconds: float
    memory: int  # bytes, at the peak
    parameters: int


def train(project: Path, seed: int) -> Run:
    """`python train.py seed=…` as a process of its own."""
    command = [sys.executable, "train.py", f"seed={seed}", f"name=seed_{seed}"]
    begun = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=project, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        if status:
            said.seek(0)
            sys.exit(f"{project.name}: {' '.join(command[1:])} failed:\n{said.read().decode()[-2000:]}")
    folder = project / "runs" / f"seed_{seed}"
    found = re.search(r": ([\d,]+) parameters", (folder / "train.log").read_text())
    metrics = json.loads((folder / "metrics.json").read_text())["test"]
    return Run(folder, metrics, seconds, usage.ru_maxrss * 1024, int(found[1].replace(",", "")) if found else 0)


def datamodule_of(project: Path, package: str) -> Any:
    """The default datamodule, with its data read and split."""
    sys.path.insert(0, str(project))
    engine = importlib.import_module(f"{package}.engine.train")
    with initialize_config_dir(str(project / "configs"), version_base="1.3"):
        datamodule = engine.build_datamodule(compose("train", ["name=baseline"]))
    datamodule.setup("test")
    return datamodule


def baselines_of(starter: str) -> Any:
    """The module `_baselines.py` of a starter."""
    spec = importlib.util.spec_from_file_location(f"baselines_{starter}", STARTERS / starter / "_baselines.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(starter: str, seeds: list[int], pictures: Path | None) -> tuple[str, bool]:
    """The row of a starter, and whether it beats what it has to beat."""
    module = baselines_of(starter)
    with tempfile.TemporaryDirectory() as folder:
        answers = {"starter": starter, "project_slug": starter, "package_name": f"own_{starter}"}
        project = Path(cookiecutter(str(ROOT), no_input=True, extra_context=answers, output_dir=folder))
        runs = [train(project, seed) for seed in seeds]
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            shutil.copy(runs[0].folder / "pictures" / f"{module.PICTURE}.png", pictures / f"{starter}.png")
        others = module.baselines(datamodule_of(project, answers["package_name"]))
    values = [run.metrics[module.METRIC] for run in runs]
    sign = 1 if module.HIGHER_IS_BETTER else -1
    ordered = sorted(values, reverse=sign < 0)  # the worst first
    beside = getattr(module, "BESIDE", ())
    wins = all(
        sign * (statistics.mean(values) - value) >= module.MARGIN
        for name, value in others.items()
        if name not in beside
    )
    compared = ", ".join(f"{name} {value:.4g}" for name, value in others.items())
    cells = [
        starter,
        f"{module.METRIC} ({'higher' if sign > 0 else 'lower'} is better)",
        f"**{statistics.mean(values):.4g}** ({ordered[0]:.4g} – {ordered[-1]:.4g})",
        compared,
        f"{statistics.median(run.seconds for run in runs):.0f}",
        f"{runs[0].parameters:,}",
        f"{max(run.memory for run in runs) / 2**30:.1f} GB",
    ]
    return f"| {' | '.join(cells)} |", wins


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))["starter"]
    parser.add_argument("starter", nargs="*", default=known, metavar="starter")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--pictures", type=Path, help="a folder for a picture of each")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "starters.md")
    arguments = parser.parse_args()
    if unknown := {*arguments.starter} - {*known}:
        parser.error(f"no starter {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    seeds = f"seed{'s' if len(arguments.seeds) > 1 else ''} {', '.join(map(str, arguments.seeds))}"
    text, losers = HEAD.format(seeds=seeds, threads=torch.get_num_threads()), []
    for starter in arguments.starter:
        line, wins = measured(starter, arguments.seeds, arguments.pictures)
        print(line, flush=True)
        text += f"{line}\n"
        losers += [] if wins else [starter]
        arguments.output.write_text(text, encoding="utf-8")
    if losers:
        sys.exit(f"Not better than each baseline by the margin of its _baselines.py: {', '.join(losers)}")


if __name__ == "__main__":
    main()
