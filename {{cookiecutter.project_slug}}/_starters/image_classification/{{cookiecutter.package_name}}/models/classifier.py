"""LightningModule for image classification: loss, metrics and optimizer, for any network."""

from typing import Annotated, Any

import torch
from pydantic import NonNegativeFloat
from pytorch_lightning import LightningModule
from torch import Tensor

from ..engine import Config, Given, OptimizerConfig, Pixels, SchedulerConfig, build, refusal
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
from .multilabel import (
    LabelDecision,
    LabelScores,
    binary_cross_entropy,
    positive_weights_of,
    probabilities_and_labels,
    quick_label_scores,
)
from .normalization import ImageStatistics, normalized, pixels_of
from .optimization import build_optimizer


class Classifier(LightningModule):
    """Train `network` with cross-entropy to classify images (B, C, H, W) into the `class_names`.

    `network`, `optimizer` and `scheduler` are config nodes: plain dicts with a `_target_`, so that checkpoints hold
    only plain values. The datamodule provides `input_shape` (C, H, W), `class_names` and the `statistics` of the
    training images, by whose mean and deviation, if there are such, images are normalised. `class_weights` is
    "balanced" or the relative weight of each class in the loss. Of two classes, `positive_class` is the one that scores
    are of (see positive_class_of), and `threshold` the probability from which it is decided for, or the score on the
    validation images by which it is chosen (see Decision). With `mixup` above 0 it trains on images that are mixed in
    pairs (see mix).

    With `multilabel`, which the datamodule provides too, an image may have several of the classes, or none: the loss
    is the binary cross-entropy of each class, `class_weights` are those of its positives (see positive_weights_of),
    and each class has its `threshold` (see LabelDecision). Targets are then masks (B, K).
    """

    class_weights: Tensor | None
    pixels: Tensor | None
    decision: Decision | LabelDecision

    # Metrics that `monitor` may name, and whether lower ("min") or higher ("max") is better.
    logged = {
        "train/loss": "min", "train/accuracy": "max", "train/macro_f1": "max", "train/exact_match": "max",
        "val/loss": "min", "val/accuracy": "max", "val/balanced_accuracy": "max", "val/macro_f1": "max",
        "val/auroc": "max", "val/average_precision": "max", "val/calibration_error": "min",
        "val/threshold": None, "val/precision/*": "max", "val/recall/*": "max", "val/f1/*": "max",
        "val/exact_match": "max", "val/micro_f1": "max", "val/threshold/*": None,
    }  # fmt: skip

    # 1. Computations

    def __init__(
        self,
        network: Annotated[Config, Given("input_shape", "num_classes")],
        optimizer: OptimizerConfig,
        input_shape: list[Pixels],
        class_names: list[str],
        statistics: ImageStatistics,
        multilabel: bool = False,
        scheduler: SchedulerConfig | None = None,
        class_weights: ClassWeights = None,
        positive_class: str | int | None = None,
        threshold: Threshold = None,
        mixup: NonNegativeFloat = 0.0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.logged = logged_for(class_names, multilabel, threshold is not None)
        if multilabel:
            weights = positive_weights_of(class_weights, class_names, statistics)
        else:
            weights = weights_of(class_weights, class_names, statistics["class_counts"])
        self.register_buffer("class_weights", weights, persistent=False)  # follows from the hyper-parameters
        self.register_buffer("pixels", pixels_of(statistics, input_shape[0]), persistent=False)
        self.network = build(network, input_shape=input_shape, num_classes=len(class_names))
        if compile:
            # In place, so that the keys in checkpoints do not change. Not dynamic: a resumed run meets the shapes in
            # another order and must still get the same kernels.
            self.network.compile(dynamic=False)
        self._add_scores(class_names, threshold, positive_class, statistics["class_counts"])

    def _add_scores(self, class_names: list[str], threshold: Any, positive_class: Any, counts: list[int]) -> None:
        size = len(class_names)
        if not self.hparams["multilabel"]:
            decision = Decision(threshold, positive_class_of(positive_class, class_names, counts), size)
            self.train_metrics = EpochMetrics(quick_scores(size))
            self.val_metrics = EpochMetrics(ClassScores(class_names, decision, choose=True))
            self.test_metrics = EpochMetrics(ClassScores(class_names, decision))
        elif positive_class is not None:
            raise refusal("model.positive_class", positive_class, "is for one class an image: expected null")
        else:
            decision = LabelDecision(threshold, size)
            self.train_metrics = EpochMetrics(quick_label_scores(size), probabilities_and_labels)
            self.val_metrics = EpochMetrics(LabelScores(class_names, decision, choose=True))
            self.test_metrics = EpochMetrics(LabelScores(class_names, decision))
        self.decision = decision

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.decision.save(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.decision.load(checkpoint)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (B, K) of images (B, C, H, W) with values in [0, 1]."""
        network = self.network if self.training else self.network.forward  # only training uses the compiled network
        return network(normalized(images, self.pixels))

    # 2. Train loop

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        if not self.hparams["mixup"]:
            return self._step(batch, self.train_metrics)[0]
        images, targets = batch
        images, share, partners = mix(images, self.hparams["mixup"])
        logits = self(images)
        losses = [self.loss(logits, each) for each in (targets, targets[partners])]
        loss = share * losses[0] + (1 - share) * losses[1]
        self.train_metrics.update(loss, logits, targets)  # accuracy is that of the larger share
        return loss

    def on_train_epoch_end(self) -> None:
        metrics = self.train_metrics.compute()
        self.log_dict({f"train/{name}": value for name, value in metrics.items()}, sync_dist=True)

    # 3. Validation loop

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._step(batch, self.val_metrics)[1]

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val", self.val_metrics)

    # 4. Test loop

    def on_test_start(self) -> None:
        self.decision.others = [each.decision for each in getattr(self, "others", ())]

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the logits (B, K), which callbacks may plot."""
        return self._step(batch, self.test_metrics)[1]

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test", self.test_metrics)

    def on_predict_start(self) -> None:
        """Tell the datamodule, which writes the predictions, how to decide."""
        self.on_test_start()
        self.hparams["decision"] = self.decision.plain()

    def predict_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        """Compute class probabilities (B, K)."""
        return self.probabilities(self(batch[0]))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of logits (B, K), a mean over the batch."""
        loss = binary_cross_entropy if self.hparams["multilabel"] else weighted_cross_entropy
        return loss(logits, targets, self.class_weights)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Convert logits to probabilities (B, K), whose sum is 1 unless there are several labels an image."""
        return logits.sigmoid() if self.hparams["multilabel"] else logits.softmax(dim=-1)

    def _step(self, batch: tuple[Tensor, Tensor], metrics: EpochMetrics) -> tuple[Tensor, Tensor]:
        """Update `metrics`; return the loss and the logits (B, K)."""
        images, targets = batch
        logits = self(images)
        loss = self.loss(logits, targets)
        metrics.update(loss, logits, targets)
        return loss, logits

    def _log_epoch(self, split: str, epoch_metrics: EpochMetrics) -> None:
        """Log the scores of the whole split; the progress shows three of them."""
        metrics = epoch_metrics.compute()
        right = "exact_match" if self.hparams["multilabel"] else "accuracy"
        shown = {f"{split}/{name}": metrics.pop(name) for name in ("loss", right, "macro_f1")}
        self.log_dict(shown, prog_bar=True, sync_dist=True)
        self.log_dict({f"{split}/{name}": value for name, value in metrics.items()}, sync_dist=True)

    # 5. Optimizers

    def configure_optimizers(self) -> Any:
        return build_optimizer(self, self.parameters(), monitor="val/loss")


def logged_for(class_names: list[str], multilabel: bool, has_threshold: bool) -> dict[str, str | None]:
    """Return the metrics that are logged for these classes, of those that Classifier declares."""
    others = {"accuracy", "balanced_accuracy"} if multilabel else {"exact_match", "micro_f1"}
    if multilabel or not has_threshold:
        others.add("threshold")
    scores = logged_of_classes(Classifier.logged, class_names, others)
    if multilabel and has_threshold:
        scores |= {f"val/threshold/{name}": None for name in class_names}
    return scores


def mix(images: Tensor, alpha: float) -> tuple[Tensor, float, Tensor]:
    """Mix each of `images` (B, C, H, W) with another of the batch (mixup, Zhang et al. 2018).

    Returns the mixed images, the share of the first one in each, drawn from Beta(alpha, alpha) and at least 0.5, and
    the numbers (B,) of the others.
    """
    share = torch.distributions.Beta(alpha, alpha).sample().item()
    share = max(share, 1 - share)
    partners = torch.randperm(len(images), device=images.device)
    return share * images + (1 - share) * images[partners], share, partners
