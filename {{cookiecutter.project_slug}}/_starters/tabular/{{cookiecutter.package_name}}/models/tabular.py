"""LightningModule for tables: loss, metrics and optimizer, for any network and target."""

from typing import Annotated, Any

from pydantic import NonNegativeFloat
from pytorch_lightning import LightningModule
from torch import Tensor

from ..engine import Config, Given, OptimizerConfig, SchedulerConfig, build, refusal
from .classes import ClassWeights, Threshold
from .epoch_metrics import EpochMetrics
from .features import CategoryEmbedding, ColumnEmbedding, Features, Statistics
from .optimization import build_optimizer, parameter_groups
from .targets import target_of

Batch = tuple[Tensor, Tensor, Tensor] | tuple[Tensor, Tensor, Tensor, Tensor]  # with the weights of rows


class TabularModel(LightningModule):
    """Train `network` to predict one column of a table, a number or a class, or several numbers, from other columns.

    `network`, `optimizer` and `scheduler` are config nodes: plain dicts with a `_target_`, so that checkpoints hold
    only plain values. The datamodule provides the column names (`numbers`, `categories`, `target`), `class_names` and
    the `statistics` of the training rows. For classes, `class_weights` is "balanced" or the relative weight of each in
    the loss. Of two classes, `positive_class` is the one that scores are of (see positive_class_of), and `threshold`
    the probability from which it is decided for, or the score on the validation rows by which it is chosen (see
    Decision). `category_decay` is the weight decay of embedded categories.
    """

    # Metrics that `monitor` may name, and whether lower ("min") or higher ("max") is better. Numbers have mae, rmse and
    # r2, classes the others.
    logged = {
        "train/loss": "min", "train/mae": "min", "train/rmse": "min", "train/r2": "max",
        "train/accuracy": "max", "train/macro_f1": "max",
        "val/loss": "min", "val/mae": "min", "val/rmse": "min", "val/r2": "max",
        "val/accuracy": "max", "val/balanced_accuracy": "max", "val/macro_f1": "max",
        "val/auroc": "max", "val/average_precision": "max", "val/calibration_error": "min",
        "val/threshold": None, "val/precision/*": "max", "val/recall/*": "max", "val/f1/*": "max",
    }  # fmt: skip

    # 1. Computations

    def __init__(
        self,
        network: Annotated[Config, Given("num_numbers", "category_sizes", "num_outputs")],
        optimizer: OptimizerConfig,
        numbers: list[str],
        categories: list[str],
        target: str | list[str],
        class_names: list[str],
        statistics: Statistics,
        scheduler: SchedulerConfig | None = None,
        class_weights: ClassWeights = None,
        positive_class: str | int | None = None,
        threshold: Threshold = None,
        category_decay: NonNegativeFloat = 3.0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.features = Features(numbers, categories, statistics)
        of_classes = {"class_weights": class_weights, "positive_class": positive_class, "threshold": threshold}
        self.target = target_of(class_names, statistics, target, **of_classes)
        names = {"loss", *self.target.scored_by}
        own = {name: mode for name, mode in self.logged.items() if name.partition("/")[2] in names}
        self.logged = own | {f"val/{name}": "max" for name in self.target.scored_by if "/" in name}
        self.network = build(
            network,
            num_numbers=len(numbers),
            category_sizes=self.features.category_sizes,
            num_outputs=self.target.num_outputs,
        )
        if compile:
            # In place, so that the keys in checkpoints do not change. Not dynamic: a resumed run meets the shapes in
            # another order and must still get the same kernels.
            self.network.compile(dynamic=False)
        self.train_metrics = EpochMetrics(self.target.scores("train"), self.target.normalized)
        self.val_metrics = EpochMetrics(self.target.scores("val"), self.target.normalized)
        self.test_metrics = EpochMetrics(self.target.scores("test"), self.target.normalized)

    @property
    def decision(self) -> Any:
        """The decision for a class; None if the target is a number."""
        return self.target.decision

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.decision:
            self.decision.save(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.decision:
            self.decision.load(checkpoint)

    def setup(self, stage: str) -> None:
        self._check_precision()

    def _check_precision(self) -> None:
        """Raises RefusedError if Lightning would round the table's numbers to 16 bits before they are scaled."""
        if str(self.trainer.precision) in ("16-true", "bf16-true"):
            mixed = str(self.trainer.precision).replace("true", "mixed")
            raise refusal("trainer.precision", self.trainer.precision, f"rounds the table's numbers; expected {mixed}")

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Predict the target (B,) in its unit, float64, or logits (B, K), from numbers (B, F, 2) and codes (B, C).

        Several targets are (B, K). A number is the sum of two float32 (see `two_floats`), NaN if it is missing.
        """
        network = self.network if self.training else self.network.forward  # only training uses the compiled network
        return self.target.decode(network(*self.features(numbers, categories)))

    # 2. Train loop

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, self.train_metrics)[0]

    def on_train_epoch_end(self) -> None:
        self._log_epoch("train", self.train_metrics)

    # 3. Validation loop

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, self.val_metrics)[1]

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val", self.val_metrics, prog_bar=True)

    # 4. Test loop

    def on_test_start(self) -> None:
        if self.decision:
            self.decision.others = [each.decision for each in getattr(self, "others", ())]

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the output of `forward`, which callbacks may plot."""
        return self._step(batch, self.test_metrics)[1]

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test", self.test_metrics)

    def on_predict_start(self) -> None:
        """Tell the datamodule, which writes the predictions, how to decide for a class."""
        self.on_test_start()
        self.hparams["decision"] = self.decision.plain() if self.decision else {}

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Predict numbers (B,), several (B, K), or class probabilities (B, K)."""
        return self.target.to_prediction(self(*batch))

    def _step(self, batch: Batch, metrics: EpochMetrics) -> tuple[Tensor, Tensor]:
        """Update `metrics`; return the loss and the output of `forward`."""
        numbers, categories, targets, *weights = batch
        predictions = self(numbers, categories)
        loss = self.target.loss(predictions, targets, *weights)
        metrics.update(loss, predictions, targets)
        return loss, predictions

    def _log_epoch(self, split: str, epoch_metrics: EpochMetrics, prog_bar: bool = False) -> None:
        """Log the metrics of the whole split, in the target's unit; the progress shows those that train has too."""
        metrics = self.target.in_units(epoch_metrics.compute())
        for name, each in metrics.items():
            shown = prog_bar and f"train/{name}" in self.logged
            self.log(f"{split}/{name}", each, prog_bar=shown, sync_dist=True)

    # 5. Optimizers

    def configure_optimizers(self) -> Any:
        self._check_precision()  # before the run begins: engine/training/trial.py builds the optimizers
        return build_optimizer(self, self.parameter_groups(), monitor="val/loss")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Give categories `category_decay`; embeddings of numbers, biases and norms no weight decay.

        The latter is as in the FT-Transformer paper.
        """
        decayed, others = parameter_groups(self, without=(ColumnEmbedding,))
        categories = [each.weight for each in self.modules() if isinstance(each, CategoryEmbedding)]
        known = {id(each) for each in categories}
        others["params"] = [each for each in others["params"] if id(each) not in known]
        return [decayed, others, {"params": categories, "weight_decay": self.hparams["category_decay"]}]
