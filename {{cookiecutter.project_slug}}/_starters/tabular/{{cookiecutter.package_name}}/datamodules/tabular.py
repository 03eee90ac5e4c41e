"""Base class for datamodules of tables: columns, splits, statistics, and input and output of predict.py.

To use your own table, give a file (table.py), or subclass TabularDataModule and write `load_table`; see diamonds.py.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import pandas as pd
import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader

from ..engine import Above0Below1, RefusedError, Seed, log, refusal
from ..models.features import Statistics, two_floats
from .base import TensorDataModule
from .columns import (
    Columns,
    category_statistics,
    check_precision,
    choose_columns,
    encode,
    number_statistics,
    refuse_foreign,
    spread,
    unfamiliar,
)
from .splits import check_split, split_at_random
from .tables import add_columns, is_numeric, need_columns, numbers, read_table, texts

MAX_CLASSES = 1000
MAX_BINS = 10  # of a numeric target: quantiles by which splits are stratified


class Table(NamedTuple):
    """Rows of a table, and the file they come from, for messages."""

    frame: pd.DataFrame
    path: Path


class TabularFacts(TypedDict):
    """The data's properties that are passed to the model; `statistics` are computed from the training rows."""

    numbers: list[str]  # number columns
    categories: list[str]  # category columns
    target: str  # the column to predict
    class_names: list[str]  # in the order of the logits; empty if the target is a number
    statistics: Statistics


class TabularDataModule(TensorDataModule):
    """Rows of a table in memory. Batches are `(numbers (B, F, 2), categories (B, C), targets)`.

    Numbers are those of the table, NaN if missing, each as two float32 (see two_floats); categories are codes (see
    columns.py). `target` is the column to predict, by default the last. It is a class (B,) if its column holds texts or
    is listed in `categories`, else a number (B, 2). `columns` predict it; by default all others except those in `drop`.
    Splits are stratified by class, or by up to ten quantile bins of the number. With `groups`, a column, rows of one
    group stay in one split.
    """

    sample_name = "rows"
    input_example = "<a CSV or Parquet file>"
    output_suffixes = ".csv .tsv .parquet"  # that predict.py can write

    def __init__(
        self,
        target: str | None = None,
        columns: list[str] | None = None,
        drop: list[str] | None = None,
        categories: list[str] | None = None,
        groups: str | None = None,
        val_fraction: Above0Below1 = 0.1,
        test_fraction: Above0Below1 = 0.2,
        split_seed: Seed = 0,
        folds: PositiveInt | None = None,
        fold: PositiveInt | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_split(val_fraction, test_fraction, folds, fold)
        self.val_fraction, self.test_fraction, self.split_seed = val_fraction, test_fraction, split_seed
        self.folds, self.fold = folds, fold
        self.target, self.columns, self.drop = target or "", columns, drop or []
        self.as_categories, self.groups = categories or [], groups
        self.chosen = Columns([], [])
        self.class_names: list[str] = []
        self.statistics: Statistics = {"numbers": {}, "categories": {}}
        self.input_table: Table | None = None  # for predict.py

    def load_table(self) -> Table:
        """Load all rows. Raises RefusedError if they can't be read."""
        raise NotImplementedError(f"{type(self).__name__} must define load_table()")

    def load_splits(self) -> dict[str, tuple[Tensor, ...]]:
        frame, path = self.load_table()
        self.target = self.target or self.trained.get("target") or frame.columns[-1]
        self._check_columns(frame, path)
        trained = [*self.trained.get("numbers", ()), *self.trained.get("categories", ())]
        if trained and {*(self.columns or trained)} == {*trained}:  # a small table may suggest other columns
            need_columns(frame, trained, path, "datamodule.root")
            self.chosen = Columns(self.trained["numbers"], self.trained["categories"])
        else:
            others = [name for name in frame.columns if name not in (self.target, self.groups, *self.drop)]
            self.chosen = choose_columns(frame, self.columns, others, self.as_categories, path)
        if self.target not in self.as_categories:
            refuse_foreign(frame, [self.target], path)
        numeric = self.target not in self.as_categories and is_numeric(frame[self.target])
        targets = self._number_target(frame, path) if numeric else self._class_target(frame, path)
        parts = split_at_random(
            len(frame), self.val_fraction, self.test_fraction, self.split_seed, folds=self.folds, fold=self.fold,
            strata=self._bins(targets) if numeric else targets, groups=self._groups(frame), sample_name="rows",
            strata_names=self.class_names,
        )._asdict()  # fmt: skip
        self.ids = {name: frame.index[index.numpy()].tolist() for name, index in parts.items()}
        self._learn_statistics(frame.iloc[parts["train"].numpy()], path, targets[parts["train"]])
        features = encode(frame, self.chosen, path, self.trained.get("statistics", {}).get("categories"))
        return {name: tuple(part[index] for part in (*features, targets)) for name, index in parts.items()}

    def _check_columns(self, frame: pd.DataFrame, path: Path) -> None:
        """Raises RefusedError if a named column is missing, the target predicts itself, or a used column is dropped."""
        named = {"target": [self.target], "columns": self.columns, "drop": self.drop, "categories": self.as_categories}
        named["groups"] = [self.groups] if self.groups else []
        for key, columns in named.items():
            need_columns(frame, columns or [], path, f"datamodule.{key}")
        if self.columns is not None and self.target in self.columns:
            raise refusal("datamodule.columns", self.columns, f"{self.target!r} is the target: it would predict itself")
        for name in {self.target, *(self.columns or [])}.intersection(self.drop):
            raise refusal("datamodule.drop", self.drop, f"{name!r} is the target or one of datamodule.columns")
        if self.groups == self.target:
            raise refusal("datamodule.groups", self.groups, "is the target; expected another column, or null")
        self._check_trained()

    def _check_trained(self) -> None:
        """Raises RefusedError if the arguments contradict how a trained model uses a column."""
        numbers, categories = self.trained.get("numbers", ()), self.trained.get("categories", ())
        for name in (name for name in self.drop if name in (*numbers, *categories)):
            raise refusal("datamodule.drop", self.drop, f"the model was trained on {name!r} and needs it; leave it out")
        for name in (name for name in self.as_categories if name in numbers):
            why = f"the model was trained on {name!r} as a number; leave it out"
            raise refusal("datamodule.categories", self.as_categories, why)

    def _number_target(self, frame: pd.DataFrame, path: Path) -> Tensor:
        """Return the target as numbers (N, 2)."""
        hint = f"; if the target is a class: datamodule.categories=[{self.target}]"
        values = numbers(frame, self.target, path, hint)
        _check_complete(pd.Series(values, index=frame.index), self.target, path)
        if np.ptp(values) == 0:
            why = f"the target is {values[0]:.10g} in each row; nothing to predict"
            raise RefusedError(f"{path}, column {self.target!r}: {why}")
        return two_floats(torch.tensor(values))

    def _bins(self, targets: Tensor) -> Tensor | None:
        """Return the quantile bin (N,) of each target (N, 2); None if bins would be too small to split."""
        if self.test_fraction == 1:  # evaluation on other data: nothing is split
            return None
        parts = [self.test_fraction, 1 - self.test_fraction]
        if not self.folds:
            parts += [self.val_fraction, 1 - self.test_fraction - self.val_fraction]
        least = math.ceil((self.folds or 2) / (1 - self.test_fraction))  # so that each split gets some rows of each bin
        count = min(MAX_BINS, len(targets) // 20, int(len(targets) * min(parts)))
        return quantile_bins(targets.double().sum(-1).numpy(), count, least)

    def _class_target(self, frame: pd.DataFrame, path: Path) -> Tensor:
        """Return the target as class indices (N,); set `class_names`."""
        values = _check_complete(texts(frame, self.target), self.target, path)
        self.class_names = sorted({*values.unique(), *self.trained.get("class_names", ())})
        if not 2 <= len(self.class_names) <= MAX_CLASSES:
            why = f"the target has {len(self.class_names)} different values; expected 2 to {MAX_CLASSES:,} classes"
            raise RefusedError(f"{path}, column {self.target!r}: {why}")
        return torch.from_numpy(pd.Index(self.class_names).get_indexer(pd.Index(values))).long()

    def _groups(self, frame: pd.DataFrame) -> Tensor | None:
        """Return the group index (N,) of each row; rows without a group form one group."""
        if self.groups is None:
            return None
        return torch.from_numpy(pd.factorize(texts(frame, self.groups), use_na_sentinel=False)[0]).long()

    def _learn_statistics(self, training: pd.DataFrame, path: Path, targets: Tensor) -> None:
        self.statistics = {
            "numbers": number_statistics(training, self.chosen, path),
            "categories": category_statistics(training, self.chosen),
        }
        if not self.class_names and len(targets):
            values = targets.double().sum(-1).numpy()
            self.statistics["target"] = {"mean": float(values.mean()), "std": spread(values)}
            check_precision(training[self.target], values, values.mean(), spread(values), path)

    @property
    def facts(self) -> TabularFacts:
        """Properties of the data that are passed to the model as arguments."""
        return {
            "numbers": self.chosen.numbers,
            "categories": self.chosen.categories,
            "target": self.target,
            "class_names": self.class_names,
            "statistics": self.statistics,
        }

    def describe(self) -> str:
        """Summarise the data in one line for the log."""
        kind = f"{len(self.class_names)} classes" if self.class_names else "a number"
        columns = f"{len(self.chosen.numbers)} columns of numbers, {len(self.chosen.categories)} of categories"
        return f"{self.target} ({kind}) from {columns}, rows: {self.split_sizes()}"

    # Input and output of predict.py

    def read_inputs(self, source: str, hparams: Mapping[str, Any]) -> list[str]:
        """Read the CSV or Parquet file `source`, which must have the columns that the model was trained on.

        Other columns, including the target, are kept. Raises RefusedError if a column is missing or can't be read.
        """
        path = Path(source)
        self.input_table = Table(read_table(path, "input"), path)
        chosen = Columns(hparams["numbers"], hparams["categories"])
        need_columns(self.input_table.frame, [*chosen.numbers, *chosen.categories], path, "input")
        self.inputs = encode(self.input_table.frame, chosen, path, hparams["statistics"]["categories"])
        for line in unfamiliar(self.inputs, chosen, hparams["statistics"], self.input_table.frame):
            log.warning(line)
        return []

    def test_dataloader(self) -> DataLoader:
        """Warn of values in the test rows that a model trained on other rows does not know."""
        model: Any = getattr(self.trainer, "lightning_module", None)
        trained_on = model.hparams.get("statistics") if model is not None else None
        if trained_on is not None and trained_on != self.statistics:
            numbers, categories, _ = self.splits["test"]
            for line in unfamiliar((numbers, categories), self.chosen, trained_on):
                log.warning(line)
        return super().test_dataloader()

    def predictions_name(self, source: str) -> str:
        return Path(source).name

    def write_predictions(self, outputs: list[Tensor], path: Path, hparams: Mapping[str, Any]) -> int:
        """Write the input's rows and columns, with `prediction` and, for classes, `probability_<class>` added."""
        if self.input_table is None:
            raise RuntimeError("call read_inputs() first")
        values, class_names = torch.cat(outputs).double().cpu().numpy(), hparams["class_names"]
        if class_names:
            added = {"prediction": np.asarray(class_names, dtype=object)[values.argmax(1)]}
            added |= {f"probability_{name}": values[:, k].round(6) for k, name in enumerate(class_names)}
        else:
            added = {"prediction": values.round(digits(hparams["statistics"]["target"]["std"]))}
        add_columns(self.input_table.path, path, added, self.input_table.frame.index)
        return len(values)


def digits(std: float) -> int:
    """Return the decimals of a prediction: a network computes about 7 digits, in units of `std`."""
    return min(300, max(0, 7 - math.floor(math.log10(std))))


def _check_complete(values: pd.Series, column: str, path: Path) -> pd.Series:
    """Return the values of a target. Raises RefusedError if one is missing."""
    if values.isna().any():
        raise RefusedError(f"{path}, row {values.isna().idxmax()}, column {column!r}: the target is missing")
    return values


def quantile_bins(targets: np.ndarray, count: int, least: int) -> Tensor | None:
    """Return the quantile bin of each number (N,): at most `count` bins of at least `least` numbers each.

    Bins that are too small because of equal numbers are merged with the next; None if only one remains.
    """
    bounds = np.unique(np.quantile(targets, np.linspace(0, 1, max(1, count) + 1)[1:-1]))
    bins = np.digitize(targets, bounds)
    merged, size = np.zeros(len(bounds) + 1, dtype=np.int64), 0
    for place, rows in enumerate(np.bincount(bins, minlength=len(merged))):
        merged[place:] = merged[place] + (size >= least)
        size = rows + (0 if size >= least else size)
    if size < least and merged[-1]:  # merges the last bin with the one before
        merged[merged == merged[-1]] -= 1
    return torch.from_numpy(merged[bins]) if merged.max() > 0 else None
