"""LightningModule for tables: loss, metrics and optimizer, for any network and target."""

from typing import Annotated, Any

from pytorch_lightning import LightningModule
from torch import Tensor

from ..engine import Config, Given, OptimizerConfig, SchedulerConfig, build, refusal
from .epoch_metrics import EpochMetrics
from .features import ColumnEmbedding, Features, Statistics
from .optimization import build_optimizer, parameter_groups
from .targets import target_of

Batch = tuple[Tensor, Tensor, Tensor] | tuple[Tensor, Tensor, Tensor, Tensor]  # with the weights of rows


class TabularModel(LightningModule):
    """Train `network` to predict one column of a table, a number or a class, from other columns.

    `network`, `optimizer` and `scheduler` are config nodes: plain dicts with a `_target_`, so that checkpoints hold
    only plain values. The datamodule provides the column names (`numbers`, `categories`, `target`), `class_names` and
    the `statistics` of the training rows.
    """

    # Metrics that `monitor` may name, and whether lower ("min") or higher ("max") is better. Numbers have mae, rmse and
    # r2, classes the others.
    logged = {
        "train/loss": "min", "train/mae": "min", "train/rmse": "min", "train/r2": "max",
        "train/accuracy": "max", "train/macro_f1": "max",
        "val/loss": "min", "val/mae": "min", "val/rmse": "min", "val/r2": "max",
        "val/accuracy": "max", "val/macro_f1": "max",
    }  # fmt: skip

    # 1. Computations

    def __init__(
        self,
        network: Annotated[Config, Given("num_numbers", "category_sizes", "num_outputs")],
        optimizer: OptimizerConfig,
        numbers: list[str],
        categories: list[str],
        target: str,
        class_names: list[str],
        statistics: Statistics,
        scheduler: SchedulerConfig | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.features = Features(numbers, categories, statistics)
        self.target = target_of(class_names, statistics)
        names = ("loss", *self.target.scored_by)
        self.logged = {name: mode for name, mode in self.logged.items() if name.partition("/")[2] in names}
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
        self.train_metrics = EpochMetrics(self.target.scores(), self.target.normalized)
        self.val_metrics = EpochMetrics(self.target.scores(), self.target.normalized)
        self.test_metrics = EpochMetrics(self.target.scores(), self.target.normalized)

    def setup(self, stage: str) -> None:
        self._check_precision()

    def _check_precision(self) -> None:
        """Raises RefusedError if Lightning would round the table's numbers to 16 bits before they are scaled."""
        if str(self.trainer.precision) in ("16-true", "bf16-true"):
            mixed = str(self.trainer.precision).replace("true", "mixed")
            raise refusal("trainer.precision", self.trainer.precision, f"rounds the table's numbers; expected {mixed}")

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Predict the target (B,) in its unit, float64, or logits (B, K), from numbers (B, F, 2) and codes (B, C).

        A number is the sum of two float32 (see `two_floats`), NaN if it is missing.
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

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the output of `forward`, which callbacks may plot."""
        return self._step(batch, self.test_metrics)[1]

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test", self.test_metrics)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Predict numbers (B,) or class probabilities (B, K)."""
        return self.target.to_prediction(self(*batch))

    def _step(self, batch: Batch, metrics: EpochMetrics) -> tuple[Tensor, Tensor]:
        """Update `metrics`; return the loss and the output of `forward`."""
        numbers, categories, targets, *weights = batch
        predictions = self(numbers, categories)
        loss = self.target.loss(predictions, targets, *weights)
        metrics.update(loss, predictions, targets)
        return loss, predictions

    def _log_epoch(self, split: str, epoch_metrics: EpochMetrics, prog_bar: bool = False) -> None:
        """Log the metrics of the whole split, in the target's unit."""
        metrics = self.target.in_units(epoch_metrics.compute())
        self.log_dict({f"{split}/{name}": each for name, each in metrics.items()}, prog_bar=prog_bar, sync_dist=True)

    # 5. Optimizers

    def configure_optimizers(self) -> Any:
        """Apply no weight decay to embeddings, biases and norms, as in the FT-Transformer paper."""
        self._check_precision()  # before the run begins: engine/training/trial.py builds the optimizers
        return build_optimizer(self, parameter_groups(self, without=(ColumnEmbedding,)), monitor="val/loss")
