"""LightningModule for text classification: loss, metrics and optimizer, for any network of a language model."""

from typing import Annotated, Any, TypedDict

import torch
from annotated_types import Ge
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from ..datamodules.tokenizer import Vocabulary
from ..engine import Config, From0Below1, Given, OptimizerConfig, SchedulerConfig, build
from .classes import (
    ClassScores,
    ClassWeights,
    Decision,
    Threshold,
    logged_of_classes,
    positive_class_of,
    quick_scores,
    weighted_cross_entropy,
    weights_of,
)
from .epoch_metrics import EpochMetrics
from .optimization import build_optimizer, parameter_groups

Batch = tuple[Tensor, Tensor, Tensor]  # tokens (B, T), which of them belong to the text (B, T), classes (B,)


class LabelledTextStatistics(TypedDict):
    """Statistics of the training texts."""

    merges: list[list[int]]  # of the vocabulary
    class_counts: list[Annotated[int, Ge(0)]]  # texts of each class


class ClassHead(nn.Module):
    """Features (B, T, D) of tokens to logits (B, K) of a text: mean and maximum over its tokens, and a linear layer."""

    def __init__(self, width: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(2 * width, num_classes)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor, is_text: Tensor) -> Tensor:
        """Tokens that do not belong to the text, where `is_text` (B, T) is False, have no influence."""
        outside = ~is_text[..., None]
        mean = features.masked_fill(outside, 0).sum(1) / is_text.sum(1, keepdim=True)
        maximum = features.masked_fill(outside, torch.finfo(features.dtype).min).amax(1)
        return self.linear(self.dropout(torch.cat((mean, maximum), 1)))


class TextClassifier(LightningModule):
    """Train `network` with cross-entropy to classify texts into the `class_names`.

    `network`, `optimizer` and `scheduler` are config nodes: plain dicts with a `_target_`, so that checkpoints hold
    only plain values. The network is one of a language model, whose weights it can start from (`init_from`): each token
    sees those before it. Its `features` (B, T, D) are used or, if it has no such method, its logits. The datamodule
    provides `context`, `class_names` and the `statistics`. `class_weights` is "balanced" or the relative weight of each
    class in the loss. Of two classes, `positive_class` is the one that scores are of (see positive_class_of), and
    `threshold` the probability from which it is decided for, or the score on the validation texts by which it is
    chosen (see Decision).
    """

    class_weights: Tensor | None

    # Metrics that `monitor` may name, and whether lower ("min") or higher ("max") is better.
    logged = {
        "train/loss": "min", "train/accuracy": "max", "train/macro_f1": "max",
        "val/loss": "min", "val/accuracy": "max", "val/balanced_accuracy": "max", "val/macro_f1": "max",
        "val/auroc": "max", "val/average_precision": "max", "val/calibration_error": "min",
        "val/threshold": None, "val/precision/*": "max", "val/recall/*": "max", "val/f1/*": "max",
    }  # fmt: skip

    # 1. Computations

    def __init__(
        self,
        network: Annotated[Config, Given("vocab_size", "context")],
        optimizer: OptimizerConfig,
        context: int,
        class_names: list[str],
        statistics: LabelledTextStatistics,
        scheduler: SchedulerConfig | None = None,
        class_weights: ClassWeights = None,
        positive_class: str | int | None = None,
        threshold: Threshold = None,
        dropout: From0Below1 = 0.0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.logged = logged_of_classes(self.logged, class_names, ("threshold",) if threshold is None else ())
        weights = weights_of(class_weights, class_names, statistics["class_counts"])
        self.register_buffer("class_weights", weights, persistent=False)  # follows from the hyper-parameters
        self.network = build(network, vocab_size=len(Vocabulary(statistics["merges"])), context=context)
        self.features = getattr(self.network, "features", self.network.forward)
        # Not dynamic: a resumed run meets the shapes in another order and must still get the same kernels.
        self.train_features = torch.compile(self.features, dynamic=False) if compile else self.features
        with torch.no_grad():
            width = self.features(torch.zeros(1, 1, dtype=torch.long)).shape[-1]
        self.head = ClassHead(width, len(class_names), dropout)
        positive = positive_class_of(positive_class, class_names, statistics["class_counts"])
        self.decision = Decision(threshold, positive, len(class_names))
        self.train_metrics = EpochMetrics(quick_scores(len(class_names)))
        self.val_metrics = EpochMetrics(ClassScores(class_names, self.decision, choose=True))
        self.test_metrics = EpochMetrics(ClassScores(class_names, self.decision))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.decision.save(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.decision.load(checkpoint)

    def forward(self, tokens: Tensor, is_text: Tensor) -> Tensor:
        """Compute logits (B, K) of texts: `tokens` (B, T), and which of them belong to the text (B, T)."""
        features = self.train_features if self.training else self.features  # only training uses the compiled network
        return self.head(features(tokens), is_text)

    # 2. Train loop

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, self.train_metrics)[0]

    def on_train_epoch_end(self) -> None:
        metrics = self.train_metrics.compute()
        self.log_dict({f"train/{name}": value for name, value in metrics.items()}, sync_dist=True)

    # 3. Validation loop

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, self.val_metrics)[1]

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val", self.val_metrics)

    # 4. Test loop

    def on_test_start(self) -> None:
        self.decision.others = [each.decision for each in getattr(self, "others", ())]

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the logits (B, K), which callbacks may plot."""
        return self._step(batch, self.test_metrics)[1]

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test", self.test_metrics)

    def on_predict_start(self) -> None:
        """Tell the datamodule, which writes the predictions, how to decide."""
        self.on_test_start()
        self.hparams["decision"] = self.decision.plain()

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute class probabilities (B, K)."""
        return self(*batch[:2]).softmax(dim=-1)

    def _step(self, batch: Batch, metrics: EpochMetrics) -> tuple[Tensor, Tensor]:
        """Update `metrics`; return the loss and the logits (B, K)."""
        tokens, is_text, targets = batch
        logits = self(tokens, is_text)
        loss = weighted_cross_entropy(logits, targets, self.class_weights)
        metrics.update(loss, logits, targets)
        return loss, logits

    def _log_epoch(self, split: str, epoch_metrics: EpochMetrics) -> None:
        """Log the scores of the whole split; the progress shows three of them."""
        metrics = epoch_metrics.compute()
        shown = {f"{split}/{name}": metrics.pop(name) for name in ("loss", "accuracy", "macro_f1")}
        self.log_dict(shown, prog_bar=True, sync_dist=True)
        self.log_dict({f"{split}/{name}": value for name, value in metrics.items()}, sync_dist=True)

    # 5. Optimizers

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self, without=(nn.Embedding, ClassHead))
        return build_optimizer(self, groups, monitor="val/loss")
