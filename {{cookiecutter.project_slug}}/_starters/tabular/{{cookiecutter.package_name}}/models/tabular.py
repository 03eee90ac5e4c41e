"""The LightningModule of tables: what is computed, trained and measured, whatever the network and the target."""

from typing import Annotated, Any

from pytorch_lightning import LightningModule
from torch import Tensor

from ..engine import Config, Given, OptimizerConfig, SchedulerConfig, build, refusal
from .features import ColumnEmbedding, Features
from .metrics import EpochMetrics
from .optimization import build_optimizer, parameter_groups
from .targets import target_of

Batch = tuple[Tensor, Tensor, Tensor]


class TabularModel(LightningModule):
    """Trains `network` to predict a column of a table, a number or a class, from its other columns.

    `network`, `optimizer` and `scheduler` are config nodes: plain dicts with a `_target_`, so that a checkpoint holds
    plain values alone. The others are told by the datamodule: the names of the columns (`numbers`, `categories`), of
    the `target` and its classes, and the `statistics` of the training rows.
    """

    # What `monitor` may name, and whether less or more of it is better: numbers have mae, rmse, r2, classes the rest.
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
        statistics: dict[str, Any],
        scheduler: SchedulerConfig | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.features = Features(statistics)
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
            # In place: a checkpoint's keys stay. Each shape by itself: a continued run meets them in another order, and
            # gets the same kernels.
            self.network.compile(dynamic=False)
        self.train_metrics = EpochMetrics(self.target)
        self.val_metrics = EpochMetrics(self.target)
        self.test_metrics = EpochMetrics(self.target)

    def setup(self, stage: str) -> None:
        self._check_precision()

    def _check_precision(self) -> None:
        """Raises RefusedError where Lightning would round the table's numbers to 16 bits before they are scaled."""
        if str(self.trainer.precision) in ("16-true", "bf16-true"):
            mixed = str(self.trainer.precision).replace("true", "mixed")
            raise refusal("trainer.precision", self.trainer.precision, f"rounds the table's numbers; expected {mixed}")

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """The target (B,) in its unit, float64, or logits (B, K), of numbers (B, F, 2) and codes (B, C).

        A number is NaN where it is missing, and else the sum of two float32: see `two_floats`.
        """
        network = self.network if self.training else self.network.forward  # what is compiled is for training
        return self.target.read(network(*self.features(numbers, categories)))

    # 2. Train loop

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, self.train_metrics)[0]

    def on_train_epoch_end(self) -> None:
        self.log_dict({f"train/{name}": value for name, value in self.train_metrics.compute().items()}, sync_dist=True)

    # 3. Validation loop

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, self.val_metrics)[1]

    def on_validation_epoch_end(self) -> None:
        self.log_dict(
            {f"val/{name}": value for name, value in self.val_metrics.compute().items()}, prog_bar=True, sync_dist=True
        )

    # 4. Test loop

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns what `forward` gives, which callbacks may draw."""
        return self._step(batch, self.test_metrics)[1]

    def on_test_epoch_end(self) -> None:
        self.log_dict({f"test/{name}": value for name, value in self.test_metrics.compute().items()}, sync_dist=True)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Numbers (B,) or probabilities (B, K)."""
        return self.target.answer(self(*batch))

    def _step(self, batch: Batch, metrics: EpochMetrics) -> tuple[Tensor, Tensor]:
        """The loss, and what `forward` gives."""
        *inputs, targets = batch
        predictions = self(*inputs)
        loss = self.target.loss(predictions, targets)
        metrics.update(loss, predictions, targets)
        return loss, predictions

    # 5. Optimizers

    def configure_optimizers(self) -> Any:
        """Embeddings, biases and norms are not decayed, as in FT-Transformer's paper."""
        self._check_precision()  # before the run begins: engine/training/trial.py asks for optimizers
        return build_optimizer(self, parameter_groups(self, without=(ColumnEmbedding,)))
