"""The cost of a run that can be trusted: exact resuming, the guard against NaN, saving every minute.

    python benchmarks/safety.py [--rounds 7]      writes benchmarks/safety.md

In a real training of the rendered project, on one thread, the hooks of a step are called many times and timed;
Lightning calls hooks of that name in any case. A save is the time to write, flush, read back and rename last.ckpt: in a
step of a default run and, for a model of 30 million parameters, alone.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cookiecutter.main import cookiecutter
from hydra import compose, initialize_config_dir
from pytorch_lightning import Callback, LightningModule, Trainer

ROOT = Path(__file__).resolve().parents[1]
CALLS = 5000


class Watch(Callback):
    """Time the hooks of a step once training runs."""

    def __init__(self) -> None:
        self.microseconds: dict[str, float] = {}
        self.save_seconds = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx != 3:
            return
        callbacks = {type(each).__name__: each for each in trainer.callbacks}
        guard, exact = callbacks["FiniteGuard"], callbacks["ExactResume"]
        loss, optimizer = outputs["loss"], trainer.optimizers[0]

        def guarded(index: int) -> None:
            guard.on_train_batch_start(trainer, pl_module, batch, batch_idx)
            guard.on_before_backward(trainer, pl_module, loss)
            guard.on_before_optimizer_step(trainer, pl_module, optimizer)

        def resumable(index: int) -> None:
            exact.on_train_batch_start(trainer, pl_module, batch, index)
            exact.on_train_epoch_end(trainer, pl_module)

        self.microseconds = {"FiniteGuard": timed(guarded), "ExactResume": timed(resumable)}
        start = time.perf_counter()
        exact._save(trainer)
        self.save_seconds = time.perf_counter() - start


def timed(step: Callable[[int], None]) -> float:
    """Return the microseconds of a call."""
    start = time.perf_counter()
    for index in range(CALLS):
        step(index)
    return (time.perf_counter() - start) / CALLS * 1e6


def measure(model: str, folder: Path, *overrides: str) -> tuple[Watch, float]:
    """Train for the default epochs; returns the measured times, and the seconds of the run."""
    from my_project.engine.runs.folder import RunFolder
    from my_project.engine.training.train import build_datamodule, build_model
    from my_project.engine.training.trainer import build_trainer

    cfg = compose("train", [f"model={model}", f"name={folder.name}", "mode=min", *overrides])
    datamodule = build_datamodule(cfg)
    trainer, _ = build_trainer(cfg, RunFolder(folder))
    folder.mkdir()
    trainer.callbacks.append(watch := Watch())
    start = time.perf_counter()
    trainer.fit(build_model(cfg, datamodule), datamodule)
    return watch, time.perf_counter() - start


def large_save(folder: Path) -> float:
    """Return the seconds to save 30 million parameters with AdamW's state, 360 MB."""
    from my_project.engine.runs.checkpoint_files import AtomicCheckpointIO
    from my_project.engine.runs.folder import RunFolder

    folder.mkdir()
    content = {"state_dict": {str(i): torch.randn(3_000_000) for i in range(30)}}
    start = time.perf_counter()
    AtomicCheckpointIO(RunFolder(folder)).save_checkpoint(content, folder / "checkpoints" / "last.ckpt")
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        project = cookiecutter(str(ROOT), no_input=True, output_dir=scratch)
        sys.path.insert(0, project)
        os.chdir(project)
        rows, large = [], [large_save(Path(scratch) / f"large{number}") for number in range(rounds)]
        with initialize_config_dir(f"{project}/configs", version_base="1.3"):
            for model in ("mlp", "cnn"):
                done = [measure(model, Path(scratch) / f"{model}{number}") for number in range(rounds)]
                hooks = [
                    statistics.median(watch.microseconds[name] for watch, _ in done) for name in done[0][0].microseconds
                ]
                save = statistics.median(watch.save_seconds for watch, _ in done)
                share = statistics.median(watch.save_seconds * 2 / seconds for watch, seconds in done)
                rows.append(
                    f"| {model} | {hooks[0]:.0f} | {hooks[1]:.0f} | {save * 1e3:.0f} | {save / 60:.2%} | {share:.2%} |"
                )
                print(rows[-1], flush=True)
    seconds = statistics.median(large)
    lines = [
        "# What trust costs",
        "",
        f"Medians over {rounds} rounds, one thread, no GPU; made by `python benchmarks/safety.py`, which says what is "
        "timed.",
        "",
        "| | FiniteGuard, µs a step (goal 40) | ExactResume, µs a step | a save, ms | saves, one a minute (goal 1 %) "
        "| both saves of a default run, of its time |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"A model of 30 million parameters with AdamW (360 MB) takes {seconds:.1f} s to save, {seconds / 60:.1%} "
        "of a minute; `save_minutes=10` makes that a tenth.",
    ]  # fmt: skip
    (ROOT / "benchmarks" / "safety.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
