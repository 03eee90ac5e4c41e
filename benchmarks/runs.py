"""Time that `python runs.py` takes to list 100 and 5,000 runs.

    python benchmarks/runs.py [--rounds 9]      writes benchmarks/runs.md

The limits: 100 runs in at most 2.5 times `python -c "import hydra"`, 5,000 within 2 s. The run folders are those of one
real training, copied.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
SIZES = (100, 5000)
LISTED = ("config.yaml", "metrics.json", "provenance.json", "status.json")


def seconds(words: list[str], cwd: Path) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, check=True)
    return time.perf_counter() - start


def copies(run: Path, folder: Path, count: int) -> Path:
    """Make `count` run folders like `run` in runs/ of a new folder."""
    for number in range(count):
        target = folder / "runs" / f"run_{number:04}"
        target.mkdir(parents=True)
        for name in LISTED:
            shutil.copy(run / name, target)
        status = json.loads((run / "status.json").read_text())
        (target / "status.json").write_text(json.dumps({**status, "seed": number}, indent=2))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        project = Path(cookiecutter(str(ROOT), no_input=True, output_dir=folder))
        subprocess.run([sys.executable, "train.py", "name=one", "trainer.max_epochs=1"], cwd=project, check=True)
        places = {size: copies(project / "runs" / "one", out / str(size), size) for size in SIZES}
        times: dict[int, list[tuple[float, float]]] = {size: [] for size in SIZES}
        for _ in range(rounds):
            hydra = seconds(["-c", "import hydra"], out)
            for size, place in places.items():
                taken = seconds([str(project / "runs.py")], place)
                times[size].append((taken, taken / hydra))
    lines = [
        "# How fast runs.py lists runs",
        "",
        f"Made by `python benchmarks/runs.py --rounds {rounds}`: medians. Plain text, into a pipe.",
        "",
        "| runs | seconds | times `import hydra` | limit |",
        "|---|---|---|---|",
    ]
    for size, limit in zip(SIZES, ("2.5 times", "2 s"), strict=True):
        taken, ratio = (statistics.median(column) for column in zip(*times[size], strict=True))
        lines.append(f"| {size:,} | {taken:.2f} | {ratio:.2f} | {limit} |")
    (ROOT / "benchmarks" / "runs.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
