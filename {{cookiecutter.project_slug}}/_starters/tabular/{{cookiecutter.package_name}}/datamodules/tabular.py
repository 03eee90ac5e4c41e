"""What every datamodule of a table shares: its columns, splits, statistics, and the inputs of predict.py.

A table of your own is a file (table.py), or a subclass with one method, `load_table`; see diamonds.py.
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
from ..models.features import two_floats
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

MOST_CLASSES = 1000
STRATA = 10  # parts of equal size that a number is cut into, so that each split has its low and its high ones


class Table(NamedTuple):
    """The rows, and the file that they come from, for messages."""

    frame: pd.DataFrame
    path: Path


class TabularFacts(TypedDict):
    """What a model is told of the table; `statistics` are those of the training rows."""

    numbers: list[str]  # columns
    categories: list[str]  # columns
    target: str  # the column that is predicted
    class_names: list[str]  # in the order of the logits; none where the target is a number
    statistics: dict[str, Any]


class TabularDataModule(TensorDataModule):
    """Rows of a table in memory. Batches are `(numbers (B, F, 2), categories (B, C), targets)`.

    Numbers are as in the table, NaN where there is none, each as two float32 (see two_floats); categories are codes
    (see columns.py). The target is a class (B,) where its column holds texts or is one of `categories`, else a number
    (B, 2); null is the last column. `columns` are those that predict it, null: all others but those to `drop`. Splits
    are stratified by the class, or by up to ten ranges of the number; with `groups`, a column, rows of one group are
    never divided.
    """

    sample_name = "rows"
    input_example = "<a CSV or Parquet file>"
    output_suffixes = ".csv .tsv .parquet"  # of predict.py

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
        self.statistics: dict[str, Any] = {}
        self.asked: Table | None = None  # of predict.py

    def load_table(self) -> Table:
        """All rows. Raises RefusedError where they can't be read."""
        raise NotImplementedError(f"{type(self).__name__} has to say where its table comes from: load_table()")

    def load_splits(self) -> dict[str, tuple[Tensor, ...]]:
        frame, path = self.load_table()
        self.target = self.target or self.trained.get("target") or frame.columns[-1]
        self._check_columns(frame, path)
        known = [*self.trained.get("numbers", ()), *self.trained.get("categories", ())]
        if known and {*(self.columns or known)} == {*known}:  # a small table tells less of them
            need_columns(frame, known, path, "datamodule.root")
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
            strata=self._ranges(targets) if numeric else targets, groups=self._groups(frame), what="rows",
            strata_names=self.class_names,
        )._asdict()  # fmt: skip
        self.ids = {name: frame.index[index.numpy()].tolist() for name, index in parts.items()}
        self._learn_statistics(frame.iloc[parts["train"].numpy()], path, targets[parts["train"]])
        trained = self.trained.get("statistics", {}).get("categories")
        features = encode(frame, self.chosen, path, trained)
        return {name: tuple(part[index] for part in (*features, targets)) for name, index in parts.items()}

    def _check_columns(self, frame: pd.DataFrame, path: Path) -> None:
        """Raises RefusedError where a column that is named is not there, or predicts itself, or is dropped too."""
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
        """Raises RefusedError where a trained model uses a column otherwise than the arguments say."""
        numbers, categories = self.trained.get("numbers", ()), self.trained.get("categories", ())
        for name in (name for name in self.drop if name in (*numbers, *categories)):
            raise refusal("datamodule.drop", self.drop, f"the model was trained on {name!r} and needs it; leave it out")
        for name in (name for name in self.as_categories if name in numbers):
            why = f"the model was trained on {name!r} as a number; leave it out"
            raise refusal("datamodule.categories", self.as_categories, why)

    def _number_target(self, frame: pd.DataFrame, path: Path) -> Tensor:
        """The numbers to predict, (N, 2)."""
        how = f"; texts are meant, classes: datamodule.categories=[{self.target}]"
        values = numbers(frame, self.target, path, how)
        _all_given(pd.Series(values, index=frame.index), self.target, path)
        if np.ptp(values) == 0:
            same = f"the target is {values[0]:.10g} in each row; nothing to predict"
            raise RefusedError(f"{path}, column {self.target!r}: {same}")
        return two_floats(torch.tensor(values))

    def _ranges(self, targets: Tensor) -> Tensor | None:
        """Which of up to STRATA ranges of about as many rows a number (N, 2) is in; None where they would be too small
        to be divided."""
        if self.test_fraction == 1:  # nothing is divided
            return None
        parts = [self.test_fraction, 1 - self.test_fraction]
        if not self.folds:
            parts += [self.val_fraction, 1 - self.test_fraction - self.val_fraction]
        least = math.ceil((self.folds or 2) / (1 - self.test_fraction))  # so that each part has some
        count = min(STRATA, len(targets) // 20, int(len(targets) * min(parts)))
        return ranges(targets.double().sum(-1).numpy(), count, least)

    def _class_target(self, frame: pd.DataFrame, path: Path) -> Tensor:
        """Numbers of the classes (N,); sets `class_names`."""
        values = _all_given(texts(frame, self.target), self.target, path)
        self.class_names = sorted({*values.unique(), *self.trained.get("class_names", ())})
        if not 2 <= len(self.class_names) <= MOST_CLASSES:
            found = f"has {len(self.class_names)} different values: expected 2 to {MOST_CLASSES:,} classes"
            raise RefusedError(f"{path}, column {self.target!r}: the target {found}")
        return torch.from_numpy(pd.Index(self.class_names).get_indexer(pd.Index(values))).long()

    def _groups(self, frame: pd.DataFrame) -> Tensor | None:
        """The number of each row's group (N,); rows without one are a group together."""
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
        """What the data says of itself; the arguments that a model gets from it."""
        return {
            "numbers": self.chosen.numbers,
            "categories": self.chosen.categories,
            "target": self.target,
            "class_names": self.class_names,
            "statistics": self.statistics,
        }

    def describe(self) -> str:
        """The data in a few words, for the log."""
        kind = f"{len(self.class_names)} classes" if self.class_names else "a number"
        columns = f"{len(self.chosen.numbers)} columns of numbers, {len(self.chosen.categories)} of categories"
        sizes = ", ".join(f"{len(split[0]):,} {name}" for name, split in self.splits.items())
        return f"{self.target} ({kind}) from {columns}, rows: {sizes}"

    # Inputs and outputs of predict.py

    def read_inputs(self, source: str, model: Mapping[str, Any]) -> list[str]:
        """Read the CSV or Parquet file `source`, which has the columns that the model was trained on.

        Other columns, the target too, are kept. Raises RefusedError where one is missing or can't be read.
        """
        path = Path(source)
        self.asked = Table(read_table(path, "input"), path)
        chosen = Columns(model["numbers"], model["categories"])
        need_columns(self.asked.frame, [*chosen.numbers, *chosen.categories], path, "input")
        self.inputs = encode(self.asked.frame, chosen, path, model["statistics"]["categories"])
        for line in unfamiliar(self.inputs, chosen, model["statistics"], self.asked.frame):
            log.warning(line)
        return []

    def test_dataloader(self) -> DataLoader:
        """Says what a model that was trained on other rows meets here that it does not know."""
        model: Any = getattr(self.trainer, "lightning_module", None)
        trained_on = model.hparams.get("statistics") if model is not None else None
        if trained_on is not None and trained_on != self.statistics:
            numbers, categories, _ = self.splits["test"]
            for line in unfamiliar((numbers, categories), self.chosen, trained_on):
                log.warning(line)
        return super().test_dataloader()

    def predictions_name(self, source: str) -> str:
        return Path(source).name

    def write_predictions(self, outputs: list[Tensor], path: Path, model: Mapping[str, Any]) -> int:
        """Write the input's columns and rows, with `prediction` and of each class `probability_<class>` beside."""
        if self.asked is None:
            raise RuntimeError("read_inputs() comes first")
        values, class_names = torch.cat(outputs).double().cpu().numpy(), model["class_names"]
        if class_names:
            added = {"prediction": np.asarray(class_names, dtype=object)[values.argmax(1)]}
            added |= {f"probability_{name}": values[:, k].round(6) for k, name in enumerate(class_names)}
        else:
            added = {"prediction": values.round(digits(model["statistics"]["target"]["std"]))}
        add_columns(self.asked.path, path, added, self.asked.frame.index)
        return len(values)


def digits(std: float) -> int:
    """Digits behind the point that a prediction has: a network computes about 7 digits, in units of `std`."""
    return min(300, max(0, 7 - math.floor(math.log10(std))))


def _all_given(values: pd.Series, column: str, path: Path) -> pd.Series:
    if values.isna().any():
        raise RefusedError(f"{path}, row {values.isna().idxmax()}, column {column!r}: the target is missing")
    return values


def ranges(targets: np.ndarray, count: int, least: int) -> Tensor | None:
    """Which of at most `count` ranges a number (N,) is in, each with at least `least` of them; None where it is one.

    Ranges that equal numbers make small are merged with the next.
    """
    bounds = np.unique(np.quantile(targets, np.linspace(0, 1, max(1, count) + 1)[1:-1]))
    found = np.digitize(targets, bounds)
    merged, size = np.zeros(len(bounds) + 1, dtype=np.int64), 0
    for place, rows in enumerate(np.bincount(found, minlength=len(merged))):
        merged[place:] = merged[place] + (size >= least)
        size = rows + (0 if size >= least else size)
    if size < least and merged[-1]:  # the last one, with the one before
        merged[merged == merged[-1]] -= 1
    return torch.from_numpy(merged[found]) if merged.max() > 0 else None
