"""Draw what a classifier confuses: the confusion matrix and the worst mistakes of the test pictures."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor


class ClassificationReport(Callback):
    """After the test: `confusion_matrix.png` and `worst_mistakes.png` in the run's `pictures/`, and in the loggers.

    The worst mistakes are the `mistakes` pictures whose true class got the lowest probability. A picture that can't
    be drawn is a warning, never the end of a run.
    """

    def __init__(self, mistakes: int = 16) -> None:
        self.mistakes = mistakes
        self._start_anew()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_anew()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """`outputs` are the logits (B, K) that `test_step` returns."""
        images, targets = batch
        self.probabilities.append(outputs.float().softmax(-1).cpu())
        self.targets.append(targets.cpu())
        wrong = outputs.argmax(-1) != targets
        self.wrong_images.append(images[wrong].float().cpu())

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # With several processes this is the share of rank 0.
        if not trainer.is_global_zero or not self.targets:
            return
        folder = Path(trainer.default_root_dir) / "pictures"
        class_names = pl_module.hparams["class_names"]
        probabilities, targets = torch.cat(self.probabilities), torch.cat(self.targets)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            files = [
                draw_confusion(probabilities.argmax(-1), targets, class_names, folder / "confusion_matrix.png"),
                self._draw_mistakes(probabilities, targets, class_names, folder / "worst_mistakes.png"),
            ]
            for file in filter(None, files):
                show(trainer, file)
        except Exception as error:
            rank_zero_warn(f"The pictures of the test could not be drawn: {type(error).__name__}: {error}")

    def _start_anew(self) -> None:
        self.probabilities: list[Tensor] = []
        self.targets: list[Tensor] = []
        self.wrong_images: list[Tensor] = []

    def _draw_mistakes(self, probabilities: Tensor, targets: Tensor, class_names: list[str], path: Path) -> Path | None:
        wrong = probabilities.argmax(-1) != targets
        if not wrong.any():
            path.unlink(missing_ok=True)
            return None
        probabilities, targets, images = probabilities[wrong], targets[wrong], torch.cat(self.wrong_images)
        of_true = probabilities.gather(1, targets[:, None])[:, 0]
        worst = of_true.argsort()[: self.mistakes].tolist()
        titles = []
        for i in worst:
            guess = int(probabilities[i].argmax())
            titles.append(f"{class_names[guess]} ({probabilities[i, guess]:.0%})\ntrue: {class_names[targets[i]]}")
        return draw_pictures(images[worst], titles, path)


def draw_confusion(predictions: Tensor, targets: Tensor, class_names: list[str], path: Path) -> Path:
    """Counts of true class (rows) against predicted class (columns), both (N,)."""
    from matplotlib.figure import Figure

    size = len(class_names)
    counts = torch.bincount(targets * size + predictions, minlength=size**2).reshape(size, size)
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    side = max(4.0, min(14.0, 1.5 + 0.45 * size))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    if size <= 25:
        for row, column in counts.nonzero().tolist():
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(int(counts[row, column])), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(size), class_names, rotation=90 if max(map(len, class_names)) > 2 else 0)
    axes.set_yticks(range(size), class_names)
    accuracy = counts.diagonal().sum().item() / max(1, counts.sum().item())
    axes.set(xlabel="predicted", ylabel="true", title=f"{len(targets):,} test pictures, accuracy {accuracy:.4f}")
    figure.savefig(path, dpi=120)
    return path


def draw_pictures(images: Tensor, titles: list[str], path: Path) -> Path:
    """`images` (N, C, H, W) in [0, 1] in a grid, each with its title."""
    from matplotlib.figure import Figure

    columns = min(len(images), 8)
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.5 * columns, 1.9 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid:
        axes.axis("off")
    for axes, image, title in zip(grid, images.clamp(0, 1), titles, strict=False):
        axes.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=8)
    figure.savefig(path, dpi=120)
    return path


def show(trainer: Trainer, file: Path) -> None:
    """Give a picture to the loggers that take pictures: TensorBoard, Weights & Biases, MLflow."""
    from PIL import Image

    loggers: list[Any] = trainer.loggers
    for logger in loggers:
        kind = type(logger).__name__
        if kind == "TensorBoardLogger":
            with Image.open(file) as picture:
                pixels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
                pixels = pixels.reshape(picture.height, picture.width, 3)
            logger.experiment.add_image(f"test/{file.stem}", pixels, trainer.global_step, dataformats="HWC")
        elif kind == "WandbLogger":
            logger.log_image(f"test/{file.stem}", [str(file)])
        elif kind == "MLFlowLogger":
            logger.experiment.log_artifact(logger.run_id, str(file), "pictures")
