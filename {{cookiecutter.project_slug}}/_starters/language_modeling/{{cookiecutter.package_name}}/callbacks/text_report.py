"""Report on the test texts of a classifier: a table, a confusion matrix and curves."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ..engine import save_plot
from .class_report import Predicted, decisions_of, draw_confusion, gathered, save_class_plots, write_test_table


class TextClassificationReport(Callback):
    """After the test, write a table of all texts to the run's `predictions/`, and save plots.

    The plots are `confusion_matrix.png`, `roc.png`, `precision_recall.png` and `reliability.png`, in `plots/` and in
    the loggers. A plot that can't be drawn is a warning.
    """

    def __init__(self) -> None:
        self.probabilities: list[Tensor] = []
        self.targets: list[Tensor] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.probabilities, self.targets = [], []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Collect the logits (B, K) that `test_step` returns as `outputs`."""
        self.probabilities.append(outputs.float().softmax(-1).cpu())
        self.targets.append(batch[2].cpu())

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = gathered(trainer, self.probabilities, self.targets)
        if found is None:
            return
        names = pl_module.hparams["class_names"]
        probabilities, targets = found
        predicted = Predicted(probabilities, targets, decisions_of(pl_module, probabilities))
        columns = [[names[k] for k in each.tolist()] for each in (targets, predicted.decisions)]
        write_test_table(trainer, ["row", "target", "class", *names], [*columns, *probabilities.T.numpy()])
        save_plot(trainer, "confusion_matrix", lambda path: draw_confusion(predicted, names, "texts", path))
        save_class_plots(trainer, pl_module, predicted, names, "texts")
