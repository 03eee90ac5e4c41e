"""Each starter with its default settings over seeds 0–4, compared with simple baselines on the same split.

    python benchmarks/starters.py [starter …] [--seeds 0 1 2 3 4] [--plots docs/starters]

writes benchmarks/starters.json, and from it benchmarks/starters.md and the figures of the table in README.md.
Measurements of other starters and other seeds are kept.

Each starter is rendered as a user gets it and trained by its own train.py. The metric, the baselines and the margin are
in its `_baselines.py`; the exit status is 1 if the mean over the seeds does not beat a baseline by the margin. Peak
memory is that of the whole process, imports and final test included.
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
from pathlib import Path
from typing import Any, NamedTuple

import torch
from cookiecutter.main import cookiecutter
from hydra import compose, initialize_config_dir

ROOT = Path(__file__).resolve().parents[1]
STARTERS = ROOT / "{{cookiecutter.project_slug}}" / "_starters"
OUTPUT = ROOT / "benchmarks" / "starters.md"
HEAD = f"""# Starters

Default settings, mean over the seeds (worst – best), {torch.get_num_threads()} CPU threads, no GPU;
by `python benchmarks/starters.py`. Memory is the peak of the whole process, of which Python with torch and Lightning
is about 0.5 GB.

| starter | metric of the test | starter | seeds | baselines | parameters | peak memory |
|---|---|---|---|---|---|---|
"""


class Run(NamedTuple):
    """Results and costs of one training."""

    folder: Path
    metrics: dict[str, float]
    memory: int  # bytes, at the peak
    parameters: int


def train(project: Path, seed: int) -> Run:
    """Run `python train.py seed=…` in a separate process."""
    command = [sys.executable, "train.py", f"seed={seed}", f"name=seed_{seed}"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=project, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            said.seek(0)
            sys.exit(f"{project.name}: {' '.join(command[1:])} failed:\n{said.read().decode()[-2000:]}")
    folder = project / "runs" / f"seed_{seed}"
    found = re.search(r": ([\d,]+) parameters", (folder / "train.log").read_text())
    metrics = json.loads((folder / "metrics.json").read_text())["test"]
    return Run(folder, metrics, usage.ru_maxrss * 1024, int(found[1].replace(",", "")) if found else 0)


def datamodule_of(project: Path, package: str) -> Any:
    """Return the default datamodule, with its data read and split."""
    sys.path.insert(0, str(project))
    engine = importlib.import_module(f"{package}.engine.training.train")
    with initialize_config_dir(str(project / "configs"), version_base="1.3"):
        datamodule = engine.build_datamodule(compose("train", ["name=baseline"]))
    datamodule.setup("test")
    return datamodule


def baselines_of(starter: str) -> Any:
    """Return the module `_baselines.py` of a starter."""
    spec = importlib.util.spec_from_file_location(f"baselines_{starter}", STARTERS / starter / "_baselines.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(starter: str, seeds: list[int], plots: Path | None) -> dict[str, Any]:
    """Return the results and costs of the trainings of a starter and of its baselines."""
    module = baselines_of(starter)
    with tempfile.TemporaryDirectory() as folder:
        answers = {"starter": starter, "project_slug": starter, "package_name": f"own_{starter}"}
        project = Path(cookiecutter(str(ROOT), no_input=True, extra_context=answers, output_dir=folder))
        runs = {str(seed): train(project, seed) for seed in seeds}
        if plots is not None:
            plots.mkdir(parents=True, exist_ok=True)
            shutil.copy(runs[str(seeds[0])].folder / "plots" / f"{module.PLOT}.png", plots / f"{starter}.png")
        others = module.baselines(datamodule_of(project, answers["package_name"]))
    return {
        "values": {seed: run.metrics[module.METRIC] for seed, run in runs.items()},
        "baselines": others,
        "parameters": runs[str(seeds[0])].parameters,
        "memory": max(run.memory for run in runs.values()),
    }


def summary(entry: dict[str, Any]) -> dict[str, float]:
    """Return mean, minimum and maximum over the seeds, and their number; older measurements keep only these."""
    values = entry.get("values", {}).values()
    if not values:
        return entry["summary"]
    return {"mean": statistics.mean(values), "least": min(values), "most": max(values), "seeds": len(values)}


def wins(starter: str, entry: dict[str, Any]) -> bool:
    """True if the mean over the seeds beats every baseline by the margin, except those listed as `BESIDE`."""
    module, mean = baselines_of(starter), summary(entry)["mean"]
    sign = 1 if module.HIGHER_IS_BETTER else -1
    others = {name: value for name, value in entry["baselines"].items() if name not in getattr(module, "BESIDE", ())}
    return all(sign * (mean - value) >= module.MARGIN for value in others.values())


def row(starter: str, entry: dict[str, Any]) -> str:
    """Format the line of a starter in the table."""
    module, over = baselines_of(starter), summary(entry)
    worst, best = ("least", "most") if module.HIGHER_IS_BETTER else ("most", "least")
    cells = [
        starter,
        f"{module.METRIC} ({'higher' if module.HIGHER_IS_BETTER else 'lower'} is better)",
        f"**{over['mean']:.4g}** ({over[worst]:.4g} – {over[best]:.4g})",
        str(over["seeds"]),
        ", ".join(f"{name} {value:.4g}" for name, value in entry["baselines"].items()),
        f"{entry['parameters']:,}",
        f"{entry['memory'] / 2**30:.1f} GB",
    ]
    return f"| {' | '.join(cells)} |"


def in_readme(starter: str, entry: dict[str, Any]) -> str:
    """Format a starter's figures for README.md, with the `README` text of its `_baselines.py`."""
    return baselines_of(starter).README.format_map({**summary(entry), **entry["baselines"]})


def readme(text: str, entries: dict[str, Any]) -> str:
    """Return the text of README.md with the figures of `entries` in the third column of its table of starters."""
    row = re.compile(r"^(\| \*\*(\w+)\*\* \|[^|]*\| )([^|]*)(?= \|)", re.MULTILINE)
    figures = {starter: in_readme(starter, entry) for starter, entry in entries.items()}
    return row.sub(lambda found: found[1] + figures.get(found[2], found[3]), text)


def write(entries: dict[str, Any], output: Path) -> None:
    """Save the measurements, and write the files made from them."""
    output.with_suffix(".json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    output.write_text(HEAD + "".join(f"{row(*item)}\n" for item in entries.items()), encoding="utf-8")
    if output == OUTPUT:
        page = ROOT / "README.md"
        page.write_text(readme(page.read_text(encoding="utf-8"), entries), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))["starter"]
    parser.add_argument("starter", nargs="*", default=known, metavar="starter")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--plots", type=Path, help="a folder for a plot of each")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    if unknown := {*arguments.starter} - {*known}:
        parser.error(f"no starter {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    kept = arguments.output.with_suffix(".json")
    entries = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    losers = []
    for starter in arguments.starter:
        entry = measured(starter, arguments.seeds, arguments.plots)
        entry["values"] = {**entries.get(starter, {}).get("values", {}), **entry["values"]}
        entries = {name: {**entries, starter: entry}[name] for name in known if name in {*entries, starter}}
        write(entries, arguments.output)
        print(row(starter, entry), flush=True)
        losers += [] if wins(starter, entry) else [starter]
    if losers:
        sys.exit(f"Not better than each baseline by the margin of its _baselines.py: {', '.join(losers)}")


if __name__ == "__main__":
    main()
