"""Plots and samples for a language model: training loss, learning rate, and text generated during training."""

import textwrap
import warnings
from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ..engine import Seed, save_figure, save_plot
from ..models.generate import Temperature, TopP, generate


class LossCurve(Callback):
    """Save `plots/loss_and_rate.png` after the test: training loss, averaged over `every` steps, and learning rate."""

    def __init__(self, every: PositiveInt = 10) -> None:
        self.every = every
        self.points: list[list[float]] = []  # step, loss, learning rate
        self.losses: list[Tensor] = []  # of the steps since the last point, () each

    def state_dict(self) -> dict[str, Any]:
        return {"points": self.points, "losses": [float(loss) for loss in self.losses]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.points = state_dict["points"]
        self.losses = [torch.tensor(loss) for loss in state_dict["losses"]]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(outputs["loss"].detach())
        if len(self.losses) == self.every:
            loss = sum(map(float, self.losses)) / self.every
            self.points.append([trainer.global_step, loss, trainer.optimizers[0].param_groups[0]["lr"]])
            self.losses = []

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.points:
            save_plot(trainer, "loss_and_rate", lambda path: draw_loss(self.points, path))


class SampledText(Callback):
    """Generate text from `prompt` after each `every`-th validation, and add it to the run's `samples.txt`.

    After the test the first, the middle and the last sample are drawn in `plots/samples.png`. Sampling has its own
    random generator, so the training is the same without it.
    """

    def __init__(
        self,
        prompt: str = "",
        every: PositiveInt = 1,
        max_new_tokens: PositiveInt = 150,
        temperature: Temperature = 0.8,
        top_p: TopP = 0.95,
        seed: Seed = 0,
    ) -> None:
        self.prompt, self.every, self.max_new_tokens = prompt, every, max_new_tokens
        self.temperature, self.top_p, self.seed = temperature, top_p, seed
        self.validations = 0
        self.samples: list[dict[str, Any]] = []  # step, bits per byte, text

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations, "samples": self.samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations, self.samples = state_dict["validations"], state_dict["samples"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.validations += 1
        if self.validations % self.every or not trainer.is_global_zero:
            return
        bits = float(trainer.callback_metrics["val/bits_per_byte"])
        self.samples.append({"step": trainer.global_step, "bits": bits, "text": self._generate(trainer, pl_module)})
        text = "\n\n".join(f"=== {title(sample)}\n{self.prompt}{sample['text']}" for sample in self.samples)
        Path(trainer.default_root_dir, "samples.txt").write_text(text + "\n", encoding="utf-8")

    def _generate(self, trainer: Any, model: Any) -> str:
        vocabulary, training = model.vocabulary, model.training
        prompt = trainer.datamodule.encode_prompt(self.prompt, vocabulary).to(model.device)
        model.eval()
        tokens = generate(model, prompt, vocabulary.end, self.max_new_tokens, self.temperature, self.top_p, self.seed)
        text = vocabulary.decode(tokens)
        model.train(training)
        return text

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.samples:
            chosen = [self.samples[number] for number in sorted({0, len(self.samples) // 2, len(self.samples) - 1})]
            save_plot(trainer, "samples", lambda path: draw_samples(chosen, self.prompt, path))


def title(sample: dict[str, Any]) -> str:
    """Return the title of a sample: its step and validation metric."""
    return f"step {sample['step']:,}, {sample['bits']:.3f} bits per byte"


def draw_loss(points: list[list[float]], path: Path) -> None:
    """Draw points of step, loss (nats per token) and learning rate."""
    from matplotlib.figure import Figure

    steps, losses, rates = zip(*points, strict=True)
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    left.plot(steps, losses, color="tab:blue", linewidth=1.2, label="training loss")
    right.plot(steps, rates, color="tab:orange", linewidth=1.2, linestyle="--", label="learning rate")
    left.set(xlabel="optimizer step", title="Training loss and learning rate")
    left.set_ylabel("training loss (nats per token)", color="tab:blue")
    right.set_ylabel("learning rate", color="tab:orange")
    left.set_ylim(bottom=min(losses) - 0.3)
    right.set_ylim(bottom=0)
    left.grid(alpha=0.3)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    save_figure(figure, path)


def draw_samples(samples: list[dict[str, Any]], prompt: str, path: Path, columns: int = 44, lines: int = 22) -> None:
    """Draw samples side by side, each after the prompt."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.7 * len(samples), 4.4), layout="constrained")
    for axes, sample in zip(figure.subplots(1, len(samples), squeeze=False)[0], samples, strict=True):
        text = "\n".join(wrapped(prompt + sample["text"], columns)[:lines])
        axes.set_title(title(sample), fontsize=10, loc="left")
        axes.text(0.02, 0.98, text, va="top", family="monospace", fontsize=7.5, parse_math=False)
        axes.set(xticks=[], yticks=[])
    start = f"the prompt {prompt!r}" if prompt else "the start of a text"
    figure.suptitle("\n".join(wrapped(f"Generated from {start}", 100)[:2]), fontsize=10, parse_math=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # for characters that the font lacks
        save_figure(figure, path)


def wrapped(text: str, columns: int) -> list[str]:
    """Split a text into lines, with long ones wrapped; unprintable characters become �."""
    lines: list[str] = []
    for line in text.split("\n"):
        printed = "".join(sign if sign.isprintable() else "�" for sign in line.expandtabs(4))
        lines += textwrap.wrap(printed, columns, drop_whitespace=False, replace_whitespace=False) or [""]
    return lines
