"""Steps a second of the rendered default run, beside a raw PyTorch loop and the style of most templates.

    python benchmarks/loop.py [--rounds 5] [--only cnn-64 …]      writes benchmarks/loop.md

All three train the same network on the same digits (repeated, so that an epoch is long), with the same optimizer,
schedule and augmentation, on one thread, in one process and in turn; a round is one epoch with its validation.

- raw: a `for` loop over batches of tensors; validation counts the right ones.
- ours: what `python train.py` runs: datamodule, model, callbacks, metrics.csv, progress bar, checkpoints.
- usual: one sample at a time through the default collate; metrics computed and logged at each step; rich progress bar.
"""

import argparse
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
from torchmetrics.classification import MulticlassAccuracy

ROOT = Path(__file__).resolve().parents[1]
CASES = {"mlp-64": ("mlp", 64, 20), "cnn-64": ("cnn", 64, 20), "mlp-512": ("mlp", 512, 80), "cnn-512": ("cnn", 512, 40)}
GOALS = {"mlp-64": (0.65, 2.5), "cnn-64": (0.78, 1.75), "cnn-512": (0.90, 1.4)}


class Usual(LightningModule):
    """The LightningModule that most templates show."""

    def __init__(self, network: nn.Module, cfg: DictConfig) -> None:
        super().__init__()
        self.network, self.cfg = network, cfg
        self.train_loss, self.val_loss = MeanMetric(), MeanMetric()
        self.train_accuracy, self.val_accuracy = MulticlassAccuracy(10), MulticlassAccuracy(10)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, targets = batch
        logits = self.network(images)
        loss = F.cross_entropy(logits, targets)
        self.train_loss(loss)
        self.train_accuracy(logits.argmax(1), targets)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        images, targets = batch
        logits = self.network(images)
        self.val_loss(F.cross_entropy(logits, targets))
        self.val_accuracy(logits.argmax(1), targets)
        self.log("val/loss", self.val_loss, prog_bar=True)
        self.log("val/accuracy", self.val_accuracy, prog_bar=True)

    def configure_optimizers(self) -> Any:
        optimizer, scheduler = optimizers(self.network, self.cfg, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def optimizers(network: nn.Module, cfg: DictConfig, steps: int) -> tuple[Any, Any]:
    """Those of the rendered config."""
    from my_project.engine.build import build

    optimizer = build(cfg.model.optimizer, network.parameters())
    return optimizer, build(cfg.model.scheduler, optimizer, total_steps=steps)


def network_of(cfg: DictConfig) -> nn.Module:
    from my_project.engine.build import build

    torch.manual_seed(0)
    return build(cfg.model.network, input_shape=[1, 8, 8], num_classes=10)


class Stopwatch(Callback):
    """Seconds of the training, validation and checkpoints included."""

    seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = -time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds += time.perf_counter()


def augmentation(cfg: DictConfig) -> Callable[[Tensor], Tensor]:
    """The random change of a batch of pictures (B, C, H, W), where the config asks for one."""
    from my_project.datamodules.augment import random_affine

    generator = torch.Generator().manual_seed(0)
    data = cfg.datamodule
    if not (data.rotate or data.shift or data.zoom):
        return lambda images: images
    return lambda images: random_affine(images, data.rotate, data.shift, data.zoom, generator)


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """One sample at a time, each with its own transform, as torchvision's datasets do."""

    def __init__(self, split: tuple[Tensor, Tensor], transform: Callable[[Tensor], Tensor] | None = None) -> None:
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        return len(self.split[1])

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, target = self.split[0][index], self.split[1][index]
        return (self.transform(image[None])[0] if self.transform else image), target


def raw(cfg: DictConfig, splits: dict[str, tuple[Tensor, Tensor]]) -> float:
    """Seconds of one epoch of a plain loop."""
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
    """Seconds of one epoch of what train.py runs."""
    from my_project.engine.build import build
    from my_project.engine.run_folder import RunFolder
    from my_project.engine.train import build_model, build_trainer

    datamodule = build(cfg.datamodule)
    datamodule.setup("fit")
    datamodule.splits = splits
    model = build_model(cfg, datamodule)
    trainer, _ = build_trainer(cfg, RunFolder(folder))
    watch = Stopwatch()
    trainer.callbacks.insert(0, watch)
    trainer.fit(model, datamodule)
    return watch.seconds


def usual(cfg: DictConfig, splits: dict[str, tuple[Tensor, Tensor]], folder: Path) -> float:
    """Seconds of one epoch in the usual style."""
    model, watch = Usual(network_of(cfg), cfg), Stopwatch()
    transform = augmentation(cfg) if cfg.datamodule.rotate else None
    loaders = [
        DataLoader(Samples(splits["train"], transform), cfg.datamodule.batch_size, shuffle=True),
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


def measure(case: str, rounds: int, project: Path, augment: bool) -> str:
    """A row of the table: medians over the rounds, the three in turn within each."""
    model, batch_size, repeat = CASES[case]
    overrides = [f"model={model}", f"datamodule.batch_size={batch_size}", "trainer.max_epochs=1", "~logger"]
    overrides += ["trainer.accelerator=cpu", "callbacks=[checkpoint]", "++trainer.num_sanity_val_steps=0"]
    overrides += [] if augment else ["datamodule.rotate=0", "datamodule.shift=0", "datamodule.zoom=0"]
    splits: dict[str, tuple[Tensor, Tensor]] = {}
    times: dict[str, list[float]] = {"raw": [], "ours": [], "usual": []}
    for number in range(rounds + 1):
        with initialize_config_dir(str(project / "configs"), version_base="1.3"):
            cfg = compose("train", [*overrides, f"name={case}-{number}"])
        if not splits:
            from my_project.engine.train import build_datamodule

            plain = build_datamodule(cfg).splits
            splits = plain | {"train": tuple(part.repeat(repeat, *[1] * (part.dim() - 1)) for part in plain["train"])}
        with tempfile.TemporaryDirectory() as folder:
            seconds = {
                "raw": raw(cfg, splits),
                "ours": ours(cfg, splits, Path(folder)),
                "usual": usual(cfg, splits, Path(folder)),
            }
        for name, value in seconds.items():
            times[name] += [value] if number else []  # the first round warms up
    steps = -(-len(splits["train"][1]) // batch_size)
    us = {name: statistics.median(values) / steps * 1e6 for name, values in times.items()}
    of_raw = statistics.median(r / o for r, o in zip(times["raw"], times["ours"], strict=True))
    over_usual = statistics.median(u / o for u, o in zip(times["usual"], times["ours"], strict=True))
    goals = [f" (goal {goal})" for goal in GOALS.get(case, ()) if not augment] or ["", ""]
    return (
        f"| {model}, batch {batch_size} | {1e6 / us['raw']:,.0f} | {1e6 / us['ours']:,.0f} | {1e6 / us['usual']:,.0f} "
        f"| {us['ours'] - us['raw']:,.0f} | {us['usual'] - us['raw']:,.0f} | **{of_raw:.2f}**{goals[0]} "
        f"| **{over_usual:.2f}**{goals[1]} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--without", action="store_true", help="only the table without augmentation")
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "loop.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    head = [
        "| | raw, steps/s | ours | usual | ours over raw, µs a step | usual over raw | ours / raw | ours / usual |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines = [
        "# The loop\n",
        f"Medians over {arguments.rounds} rounds, one thread, no GPU; made by `python benchmarks/loop.py`, which says "
        "what is compared.",
    ]
    titles = {False: "Without augmentation", True: "With the default augmentation (usual: each sample by itself)"}
    with tempfile.TemporaryDirectory() as folder:
        project = Path(cookiecutter(str(ROOT), no_input=True, output_dir=folder))
        sys.path.insert(0, str(project))
        for augment in (False,) if arguments.without else (False, True):
            rows = [measure(case, arguments.rounds, project, augment) for case in arguments.only]
            lines += [f"\n## {titles[augment]}\n", *head, *rows]
    text = "\n".join(lines) + "\n"
    print(text)
    if set(arguments.only) == set(CASES) and not arguments.without:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
