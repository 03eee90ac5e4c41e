"""The starters on a GPU: steps a second in float32, bfloat16 and compiled, and whether killed runs resume exactly.

    python benchmarks/gpu.py [starter …] [--epochs 6] [--what speed exact]      prints what benchmarks/gpu.md is made of

Each starter is trained by its own train.py with its default settings. Steps a second are those between the end of the
first epoch and the end of the last, validation included. For exactness a run is killed by SIGKILL after its second
epoch and resumed by the same command. Its weights are compared with those of an uninterrupted run, which are compared
with those of a second uninterrupted run.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from starters import STARTERS, baselines_of

ROOT = Path(__file__).resolve().parents[1]
SPEED = {"float32": (), "bfloat16": ("trainer=gpu",), "bfloat16, compiled": ("trainer=gpu", "model.compile=true")}
EXACT = {
    "float32": (),
    "float32, deterministic": ("trainer.deterministic=true",),
    "bfloat16, deterministic": ("trainer=gpu", "trainer.deterministic=true"),
    "bfloat16, compiled, deterministic": ("trainer=gpu", "model.compile=true", "trainer.deterministic=true"),
}
EPOCH = re.compile(r"^(\S+ \S+) Epoch \d+, step (\d+)", re.MULTILINE)


def rendered(starter: str, folder: str) -> Path:
    """Render in a separate process: cookiecutter changes its working directory."""
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "-o", folder, str(ROOT), f"starter={starter}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Path(folder) / "my-project"


def start(project: Path, name: str, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "train.py", f"name={name}", *words]
    return subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(process: subprocess.Popen[str]) -> None:
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, process.args))} failed:\n{said[-3000:]}")


def speed(starter: str, variant: str, epochs: int) -> str:
    """Return a row: steps a second, test metric, seconds of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        project = rendered(starter, folder)
        begun = time.monotonic()
        finished(start(project, "timed", *SPEED[variant], *([f"trainer.max_epochs={epochs}"] if epochs else [])))
        seconds = time.monotonic() - begun
        run = project / "runs" / "timed"
        ends = EPOCH.findall((run / "train.log").read_text())
        times = [datetime.strptime(when, "%Y-%m-%d %H:%M:%S,%f") for when, _ in (ends[0], ends[-1])]
        rate = (int(ends[-1][1]) - int(ends[0][1])) / (times[1] - times[0]).total_seconds()
        module = baselines_of(starter)
        metric = json.loads((run / "metrics.json").read_text())["test"][module.METRIC]
    return f"| {starter} | {variant} | {rate:.0f} | {module.METRIC} {metric:.4g} | {len(ends)} | {seconds:.0f} |"


def bits(run: Path) -> str:
    """Return a digest of the final weights of a run."""
    state = torch.load(run / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def exact(starter: str, variant: str, epochs: int) -> str:
    """Return a row: whether two uninterrupted runs agree, and a killed one with the first."""
    words = (*EXACT[variant], f"trainer.max_epochs={epochs}", "save_minutes=0.01")
    with tempfile.TemporaryDirectory() as folder:
        project = rendered(starter, folder)
        for name in ("whole", "again"):
            finished(start(project, name, *words))
        process = start(project, "killed", *words)
        log = project / "runs" / "killed" / "train.log"
        while process.poll() is None and not (log.exists() and "Epoch 2 " in log.read_text()):
            time.sleep(0.05)
        process.kill()
        said, _ = process.communicate()
        if process.returncode != -9:
            raise RuntimeError(f"{starter}, {variant}: it ended before it could be killed:\n{said[-3000:]}")
        finished(start(project, "killed", *words))
        whole, again, killed = (bits(project / "runs" / name) for name in ("whole", "again", "killed"))
    verdicts = ["the same bits" if each == whole else "other bits" for each in (again, killed)]
    return f"| {starter} | {variant} | {verdicts[0]} | {verdicts[1]} |"


def tell(measure: Callable[..., str], *words: Any) -> bool:
    """Print the row of a measurement, or why it failed; returns True if it failed."""
    try:
        print(measure(*words), flush=True)
    except RuntimeError as error:
        print(error, file=sys.stderr, flush=True)
        return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("starters", nargs="*", default=[path.parent.name for path in STARTERS.glob("*/_baselines.py")])
    parser.add_argument("--epochs", type=int, default=0, help="0: those of the starter")
    parser.add_argument("--what", nargs="+", choices=["speed", "exact"], default=["speed", "exact"])
    parser.add_argument("--only", default="", help="the variants whose names hold this")
    parser.add_argument("--at-once", type=int, default=1, help="runs for exactness that share the GPU")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py needs a GPU that torch can use; torch.cuda.is_available() is False.")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, Python {sys.version.split()[0]}\n", flush=True)
    failed = False
    if "exact" in given.what:
        print("| starter | | again | killed and continued |\n|---|---|---|---|", flush=True)
        cases = [
            (starter, variant, given.epochs or 4)
            for starter in given.starters
            for variant in EXACT
            if given.only in variant
        ]
        with ThreadPoolExecutor(given.at_once) as pool:
            for done in as_completed([pool.submit(exact, *case) for case in cases]):
                failed |= tell(done.result)
    if "speed" in given.what:
        print("\n| starter | | steps/s | test | epochs | seconds |\n|---|---|---|---|---|---|", flush=True)
        for variant in (each for each in SPEED if given.only in each):
            for starter in given.starters:
                failed |= tell(speed, starter, variant, given.epochs)
    sys.exit(failed)


if __name__ == "__main__":
    main()
