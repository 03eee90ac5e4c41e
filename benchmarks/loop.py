"""Steps a second of the rendered default run, compared with a raw PyTorch loop and the style of most templates.

    python benchmarks/loop.py [--rounds 7] [--only cnn-64 …]      writes benchmarks/loop.md

All three train the same network on the same digits (repeated, so that an epoch is long), with the same optimizer,
schedule and augmentation, on one thread, in one process and in turn; a round is one epoch with its validation.

- raw: a `for` loop over batches of tensors, augmented a whole batch at a time; validation counts correct predictions.
- ours: what `python train.py` runs: datamodule, model, callbacks, metrics.csv, progress bar, checkpoints.
- usual: samples one at a time, each made a float tensor by its transform, with the default collate; the same scores
  (loss, accuracy, macro-F1) computed and logged in each step, as in the examples of Lightning and the leading template;
  rich progress bar, CSVLogger, best and last checkpoint.
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
import torch.nn.functional as F
from cookiecutter.main import cookiecutter
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

ROOT = Path(__file__).resolve().parents[1]
CASES = {"mlp-64": ("mlp", 64, 40), "cnn-64": ("cnn", 64, 20), "mlp-512": ("mlp", 512, 40), "cnn-512": ("cnn", 512, 20)}
GOALS = {"mlp-64": (0.65, 2.5), "cnn-64": (0.78, 1.75), "cnn-512": (0.90, 1.4)}


class Usual(LightningModule):
    """The LightningModule that most templates show."""

    def __init__(self, network: nn.Module, cfg: DictConfig) -> None:
        super().__init__()
        self.network, self.cfg = network, cfg
        self.train_loss, self.val_loss = MeanMetric(), MeanMetric()
        self.train_accuracy, self.val_accuracy = (MulticlassAccuracy(10, average="micro") for _ in range(2))
        self.train_f1, self.val_f1 = MulticlassF1Score(10), MulticlassF1Score(10)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, targets = batch
        logits = self.network(images)
        loss = F.cross_entropy(logits, targets)
        self.train_loss(loss)
        self.train_accuracy(logits.argmax(1), targets)
        self.train_f1(logits.argmax(1), targets)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/macro_f1", self.train_f1, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        images, targets = batch
        logits = self.network(images)
        self.val_loss(F.cross_entropy(logits, targets))
        self.val_accuracy(logits.argmax(1), targets)
        self.val_f1(logits.argmax(1), targets)
        self.log("val/loss", self.val_loss, prog_bar=True)
        self.log("val/accuracy", self.val_accuracy, prog_bar=True)
        self.log("val/macro_f1", self.val_f1, prog_bar=True)

    def configure_optimizers(self) -> Any:
        optimizer, scheduler = optimizers(self.network, self.cfg, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def optimizers(network: nn.Module, cfg: DictConfig, steps: int) -> tuple[Any, Any]:
    """Return the optimizer and the schedule of the rendered config."""
    from my_project.engine.config.build import build

    optimizer = build(cfg.model.optimizer, network.parameters())
    return optimizer, build(cfg.model.scheduler, optimizer, total_steps=steps)


def network_of(cfg: DictConfig) -> nn.Module:
    from my_project.engine.config.build import build

    torch.manual_seed(0)
    return build(cfg.model.network, input_shape=[1, 8, 8], num_classes=10)


class Stopwatch(Callback):
    """Measure the seconds of a training, validation and checkpoints included."""

    seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = -time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds += time.perf_counter()


def augmentation(cfg: DictConfig) -> Callable[[Tensor], Tensor]:
    """Return the augmentation of a batch of images (B, C, H, W), if the config asks for one."""
    from my_project.datamodules.augmentation import random_affine

    generator = torch.Generator().manual_seed(0)
    data = cfg.datamodule
    if not (data.rotate or data.shift or data.zoom):
        return lambda images: images
    return lambda images: random_affine(images, data.rotate, data.shift, data.zoom, generator)


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """Dataset of one scan (0–16) at a time, made a float tensor and transformed, as torchvision's datasets do."""

    def __init__(self, split: tuple[Tensor, Tensor], augment: Callable[[Tensor], Tensor] | None = None) -> None:
        self.scans, self.targets, self.augment = (split[0] * 16).byte(), split[1], augment

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.scans[index].float().div(16)
        return (self.augment(image[None])[0] if self.augment else image), self.targets[index]


def raw(cfg: DictConfig, splits: dict[str, tuple[Tensor, Tensor]]) -> float:
    """Return the seconds of one epoch of a plain loop."""
    network, augment = network_of(cfg), augmentation(cfg)
    images, targets = splits["train"]
    order = torch.randperm(len(targets)).split(cfg.datamodule.batch_size)
    optimizer, scheduler = optimizers(network, cfg, len(order))
    start = time.perf_counter()
    network.train()
    for index in order:
        loss = F.cross_entropy(network(augment(images[index])), targets[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    network.eval()
    with torch.no_grad():
        val_images, val_targets = splits["val"]
        (network(val_images).argmax(1) == val_targets).float().mean().item()
    return time.perf_counter() - start


def ours(cfg: DictConfig, splits: dict[str, tuple[Tensor, Tensor]], folder: Path) -> float:
    """Return the seconds of one epoch of what train.py runs."""
    from my_project.engine.config.build import build
    from my_project.engine.runs.folder import RunFolder
    from my_project.engine.training.train import build_model
    from my_project.engine.training.trainer import build_trainer

    datamodule = build(cfg.datamodule)
    datamodule.setup("fit")
    datamodule.splits = splits
    model = build_model(cfg, datamodule)
    trainer, _ = build_trainer(cfg, RunFolder(folder))
    watch = Stopwatch()
    trainer.callbacks.insert(0, watch)
    trainer.fit(model, datamodule)
    return watch.seconds


class Bare(LightningModule):
    """A LightningModule that only trains."""

    def __init__(self, network: nn.Module, cfg: DictConfig) -> None:
        super().__init__()
        self.network, self.cfg = network, cfg

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        optimizer, scheduler = optimizers(self.network, self.cfg, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def bare(cfg: DictConfig, splits: dict[str, tuple[Tensor, Tensor]], folder: Path) -> float:
    """Return the seconds of one epoch of Lightning's Trainer with everything optional switched off."""
    images, targets = splits["train"]
    augment, watch = augmentation(cfg), Stopwatch()
    order = torch.randperm(len(targets)).split(cfg.datamodule.batch_size)
    batches = [(augment(images[index]), targets[index]) for index in order]
    start = time.perf_counter()
    for index in order:  # raw and ours do this within the loop
        augment(images[index])
    seconds = time.perf_counter() - start
    trainer = Trainer(max_epochs=1, accelerator="cpu", barebones=True)
    trainer.callbacks.append(watch)
    trainer.fit(Bare(network_of(cfg), cfg), DataLoader(batches, batch_size=None))
    return watch.seconds + seconds


def usual(cfg: DictConfig, splits: dict[str, tuple[Tensor, Tensor]], folder: Path) -> float:
    """Return the seconds of one epoch in the usual style."""
    model, watch = Usual(network_of(cfg), cfg), Stopwatch()
    augment = augmentation(cfg) if cfg.datamodule.rotate else None
    loaders = [
        DataLoader(Samples(splits["train"], augment), cfg.datamodule.batch_size, shuffle=True),
        DataLoader(Samples(splits["val"]), cfg.datamodule.batch_size),
    ]
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[watch, ModelCheckpoint(folder, monitor="val/loss", save_last=True), RichProgressBar()],
        logger=CSVLogger(folder),
        enable_model_summary=False,
        log_every_n_steps=50,
    )
    trainer.fit(model, *loaders)
    return watch.seconds


WITHOUT_AUGMENTATION = ["datamodule.rotate=0", "datamodule.shift=0", "datamodule.zoom=0"]
STYLES = {"bare": bare, "ours": ours, "usual": usual}


def measure(case: str, rounds: int, project: Path, overrides: list[str]) -> dict[str, list[float]]:
    """Return the microseconds a step of each style, round by round; within a round they run in turn."""
    model, batch_size, repeat = CASES[case]
    words = [f"model={model}", f"datamodule.batch_size={batch_size}", "trainer.max_epochs=1", "mode=min"]
    words += ["trainer.accelerator=cpu", "++trainer.num_sanity_val_steps=0", *overrides]
    splits: dict[str, tuple[Tensor, Tensor]] = {}
    times: dict[str, list[float]] = {"raw": [], **{name: [] for name in STYLES}}
    for number in range(rounds + 1):
        with initialize_config_dir(str(project / "configs"), version_base="1.3"):
            cfg = compose("train", [*words, f"name={case}-{number}"])
        if not splits:
            from my_project.engine.training.train import build_datamodule

            plain = build_datamodule(cfg).splits
            splits = plain | {"train": tuple(part.repeat(repeat, *[1] * (part.dim() - 1)) for part in plain["train"])}
        steps = -(-len(splits["train"][1]) // batch_size)
        with tempfile.TemporaryDirectory() as folder:
            seconds = {
                "raw": raw(cfg, splits),
                **{name: run(cfg, splits, Path(folder)) for name, run in STYLES.items()},
            }
        for name, value in seconds.items():
            times[name] += [value / steps * 1e6] if number else []  # the first round warms up
    return times


def row(case: str, times: dict[str, list[float]], goals: tuple[float, ...]) -> str:
    """Format a line of the table: medians, and medians of the ratios within a round."""
    us = {name: statistics.median(values) for name, values in times.items()}

    def ratio(slow: str, fast: str) -> str:
        return f"{statistics.median(s / f for s, f in zip(times[slow], times[fast], strict=True)):.2f}"

    of_raw, over_usual = (f" (goal {goal})" for goal in goals) if goals else ("", "")
    model, batch_size, _ = CASES[case]
    return (
        f"| {model}, batch {batch_size} | {1e6 / us['raw']:,.0f} | {1e6 / us['ours']:,.0f} | {1e6 / us['usual']:,.0f} "
        f"| {us['bare'] - us['raw']:,.0f} | {us['ours'] - us['bare']:,.0f} | {us['usual'] - us['raw']:,.0f} "
        f"| **{ratio('raw', 'ours')}**{of_raw} | **{ratio('usual', 'ours')}**{over_usual} | {ratio('usual', 'raw')} |"
    )


HEAD = (
    "| | raw, steps/s | ours | usual | Trainer alone over raw, µs a step | ours over Trainer alone | usual over raw "
    "| ours / raw | ours / usual | raw / usual |\n|---|---|---|---|---|---|---|---|---|---|"
)


NOTES = (
    "What a step costs over the raw loop stands in two columns: what Lightning's Trainer takes, everything else "
    "switched off (hooks, closures, fetching a batch), and what the default run adds to it (metrics, callbacks, "
    "progress bar, metrics.csv, and the epoch's validation and checkpoints, which at batch 512 few steps share).",
    "`raw / usual` is the most that `ours / usual` could be, if the default run cost nothing at all. The usual style "
    "augments each image by itself; where nothing is augmented, the network takes nearly all of a step at batch 512.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "loop.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "# The loop\n",
        f"Medians over {arguments.rounds} rounds, one thread, no GPU; made by `python benchmarks/loop.py`, which says "
        "what is compared.\n",
        "\n\n".join(NOTES),
    ]
    with tempfile.TemporaryDirectory() as folder:
        project = Path(cookiecutter(str(ROOT), no_input=True, output_dir=folder))
        sys.path.insert(0, str(project))
        os.chdir(folder)
        for title, overrides in {"The default run": [], "Without augmentation": WITHOUT_AUGMENTATION}.items():
            lines += [f"\n## {title}\n", HEAD]
            for case in arguments.only:
                goals = GOALS.get(case, ()) if not overrides else ()
                lines.append(row(case, measure(case, arguments.rounds, project, overrides), goals))
                print("\n".join(["", *lines]), file=sys.stderr, flush=True)
        os.chdir(ROOT)
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
