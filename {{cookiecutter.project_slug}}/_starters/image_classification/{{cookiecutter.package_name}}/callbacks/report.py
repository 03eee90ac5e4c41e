"""Report on the test images of a classifier: a table, a confusion matrix, curves and the worst mistakes."""

from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ..engine import save_figure, save_plot
from ..models.multilabel import joined
from .class_report import Predicted, decisions_of, draw_confusion, gathered, save_class_plots, write_test_table


class ClassificationReport(Callback):
    """After the test, write a table of all images to the run's `predictions/`, and save plots.

    The plots are `confusion_matrix.png`, `roc.png`, `precision_recall.png`, `reliability.png` and
    `worst_mistakes.png`, in `plots/` and in the loggers.

    The worst mistakes are the `mistakes` wrong images whose true class got the lowest probability. If fewer are wrong,
    the least certain of the correct ones follow. A plot that can't be drawn is a warning. With several labels an image
    there is neither a confusion matrix nor a reliability diagram.
    """

    def __init__(self, mistakes: PositiveInt = 16) -> None:
        self.mistakes = mistakes
        self._reset()

    def _reset(self) -> None:
        self.probabilities: list[Tensor] = []
        self.targets: list[Tensor] = []
        # The worst samples of each batch: images (k, C, H, W), probabilities (k, K), targets (k,), numbers (k,).
        self.worst: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.seen = 0

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._reset()

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Collect the logits (B, K) that `test_step` returns as `outputs`."""
        images, targets = batch
        logits = outputs.float()
        probabilities = pl_module.probabilities(logits) if hasattr(pl_module, "probabilities") else logits.softmax(-1)
        self.probabilities.append(probabilities.cpu())
        self.targets.append(targets.cpu())
        worst = worst_of(probabilities, targets, decisions_of(pl_module, probabilities), self.mistakes)
        numbers = (self.seen + worst.cpu()) * trainer.world_size  # process 0 has every `world_size`-th image
        self.worst.append((images[worst].float().cpu(), probabilities[worst].cpu(), targets[worst].cpu(), numbers))
        self.seen += len(targets)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = gathered(trainer, self.probabilities, self.targets)
        if found is None:
            return
        names = pl_module.hparams["class_names"]
        probabilities, targets = found
        decisions = decisions_of(pl_module, probabilities)
        multilabel = targets.ndim == 2
        if multilabel:
            separator = getattr(getattr(trainer, "datamodule", None), "separator", "|")
            columns = [joined(each, names, separator) for each in (targets, decisions)]
        else:
            columns = [[names[k] for k in each.tolist()] for each in (targets, decisions)]
        header = ["file", "target", "class", *names]
        write_test_table(trainer, header, [*columns, *probabilities.T.numpy()])
        predicted = Predicted(probabilities, targets, decisions)
        if not multilabel:
            save_plot(trainer, "confusion_matrix", lambda path: draw_confusion(predicted, names, "images", path))
        save_class_plots(trainer, pl_module, predicted, names, "images")
        save_plot(trainer, "worst_mistakes", lambda path: self._draw_mistakes(trainer, pl_module, path))

    def _draw_mistakes(self, trainer: Any, model: Any, path: Path) -> None:
        images, probabilities, targets, numbers = (torch.cat(parts) for parts in zip(*self.worst, strict=True))
        decisions = decisions_of(model, probabilities)
        worst = worst_of(probabilities, targets, decisions, self.mistakes)
        titles, class_names = [], model.hparams["class_names"]
        rows = zip(probabilities[worst], decisions[worst].tolist(), targets[worst].tolist(), strict=True)
        for probability, predicted, target in rows:
            titles.append(title_of(probability, predicted, target, class_names))
        data = getattr(trainer, "datamodule", None)
        ids = data.sample_ids("test", numbers[worst]) if hasattr(data, "sample_ids") else numbers[worst].tolist()
        draw_images(images[worst], titles, [each if isinstance(each, str) else f"image {each}" for each in ids], path)


def worst_of(probabilities: Tensor, targets: Tensor, decisions: Tensor, count: int) -> Tensor:
    """Return the indices of the worst `count` samples by their probabilities (B, K): wrong ones, then correct ones.

    Of each kind, those come first whose true class has the lowest probability or, with several labels an image, whose
    most wrong label is the most wrong.
    """
    if targets.ndim == 2:
        certainty = 1 - (probabilities - targets.float()).abs().amax(1)  # of the label that is most wrong
        return (certainty + (decisions == targets).all(1)).argsort()[:count]
    correct = decisions == targets
    return (probabilities.gather(1, targets[:, None])[:, 0] + correct).argsort()[:count]


def title_of(probability: Tensor, predicted: Any, target: Any, class_names: list[str]) -> str:
    """Return the predicted class and its probability, of (K,), and the true class on a second line if it is another.

    With several labels an image, where `predicted` and `target` are lists (K), it is the one that is most wrong.
    """
    if isinstance(target, list):
        k = int((probability - torch.tensor(target, dtype=probability.dtype)).abs().argmax())
        truth = "" if predicted == target else f"\nis {'' if target[k] else 'not '}{class_names[k]}"
        return f"{class_names[k]}: {probability[k]:.0%}{truth}"
    truth = "" if predicted == target else f"\nis {class_names[target]}"
    return f"{class_names[predicted]}: {probability[predicted]:.0%}{truth}"


def in_two_lines(name: str, width: int = 24) -> str:
    """Break a long name of a file after its folder; of each line that is still too long only the end is kept."""
    folder, slash, file = name.rpartition("/") if len(name) > width else ("", "", name)
    lines = [each if len(each) <= width else f"…{each[1 - width :]}" for each in (folder + slash, file) if each]
    return "\n".join(lines)


def draw_images(images: Tensor, titles: list[str], names: list[str], path: Path) -> None:
    """Draw `images` (N, C, H, W) in [0, 1] as a grid, with titles above, red ones of two lines, and names below."""
    from matplotlib.figure import Figure

    columns = min(len(images), 4)
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(max(5.0, 1.5 * columns), 2.0 * rows + 0.6), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid:
        axes.axis("off")
    for axes, image, title, name in zip(grid, images.clamp(0, 1), titles, names, strict=False):
        axes.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=8, color="firebrick" if "\n" in title else "black", parse_math=False)
        below = {"transform": axes.transAxes, "ha": "center", "va": "top", "fontsize": 6}
        axes.text(0.5, -0.03, in_two_lines(name), parse_math=False, **below)
    title = "Worst mistakes (red), then least certain images:\npredicted class and its probability"
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)
