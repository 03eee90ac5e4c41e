"""What every datamodule of a table shares: its columns, splits, statistics, and the inputs of predict.py.

A table of your own is a file (table.py), or a subclass with one method, `load_table`; see diamonds.py.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import pandas as pd
import torch
from pydantic import PositiveInt
from torch import Tensor

from ..errors import RefusedError, refusal
from ..front_door.values import Fraction, Seed
from .base import TensorDataModule, check_split, split_at_random
from .columns import Columns, category_statistics, choose_columns, encode, number_statistics, spread
from .tables import is_numeric, need_columns, numbers, read_table, texts, write_table

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
    """Rows of a table in memory. Batches are `(numbers (B, F), categories (B, C), targets (B,))`.

    Numbers are as in the table, NaN where there is none; categories are codes (see columns.py). The target is a class
    where its column holds texts or is one of `categories`, else a number; null is the last column. `columns` are those
    that predict it, null: all others. Splits are stratified by the class, or by ten ranges of the number; with
    `groups`, a column, rows of one group are never divided.
    """

    sample_name = "rows"
    input_example = "<a CSV or Parquet file>"

    def __init__(
        self,
        target: str | None = None,
        columns: list[str] | None = None,
        categories: list[str] | None = None,
        groups: str | None = None,
        val_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.2,
        split_seed: Seed = 0,
        folds: PositiveInt | None = None,
        fold: PositiveInt | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_split(val_fraction, test_fraction, folds, fold)
        self.val_fraction, self.test_fraction, self.split_seed = val_fraction, test_fraction, split_seed
        self.folds, self.fold = folds, fold
        self.target, self.columns, self.as_categories, self.groups = target or "", columns, categories or [], groups
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
        named = {"target": [self.target], "columns": self.columns, "categories": self.as_categories}
        named["groups"] = [self.groups] if self.groups else []
        for key, columns in named.items():
            need_columns(frame, columns or [], path, f"datamodule.{key}")
        if self.columns is not None and self.target in self.columns:
            raise refusal("datamodule.columns", self.columns, f"{self.target!r} is the target: it would predict itself")
        others = [name for name in frame.columns if name not in (self.target, self.groups)]
        known = [*self.trained.get("numbers", ()), *self.trained.get("categories", ())]
        if known and {*(self.columns or known)} == {*known}:  # a small table tells less of them
            need_columns(frame, known, path, "datamodule.root")
            self.chosen = Columns(self.trained["numbers"], self.trained["categories"])
        else:
            self.chosen = choose_columns(frame, self.columns, others, self.as_categories)
        numeric = self.target not in self.as_categories and is_numeric(frame[self.target])
        targets = _number_target(frame, self.target, path) if numeric else self._class_target(frame, path)
        parts = split_at_random(
            len(frame), self.val_fraction, self.test_fraction, self.split_seed, folds=self.folds, fold=self.fold,
            strata=ranges(targets) if numeric else targets, groups=self._groups(frame), what="rows",
        )._asdict()  # fmt: skip
        self.ids = {name: frame.index[index.numpy()].tolist() for name, index in parts.items()}
        self._learn_statistics(frame.iloc[parts["train"].numpy()], path, targets[parts["train"]])
        features = encode(frame, self.chosen, path)
        return {name: tuple(part[index] for part in (*features, targets)) for name, index in parts.items()}

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
            values = targets.double().numpy()
            self.statistics["target"] = {"mean": float(values.mean()), "std": spread(values)}

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
        self.inputs = encode(self.asked.frame, chosen, path)
        return []

    def predictions_name(self, source: str) -> str:
        return Path(source).name

    def write_predictions(self, outputs: list[Tensor], path: Path, model: Mapping[str, Any]) -> int:
        """Write the input's columns and rows, with `prediction` and of each class `probability_<class>` beside."""
        if self.asked is None:
            raise RuntimeError("read_inputs() comes first")
        values, class_names = torch.cat(outputs).float().cpu().numpy(), model["class_names"]
        if class_names:
            added = {"prediction": np.asarray(class_names, dtype=object)[values.argmax(1)]}
            added |= {f"probability_{name}": values[:, k].round(6) for k, name in enumerate(class_names)}
        else:
            added = {"prediction": values}
        frame = self.asked.frame
        kept = frame.drop(columns=[name for name in added if name in frame.columns])  # of a prediction before
        write_table(pd.concat([kept, pd.DataFrame(added, index=frame.index)], axis=1), path)
        return len(frame)


def _all_given(values: pd.Series, column: str, path: Path) -> pd.Series:
    if values.isna().any():
        raise RefusedError(f"{path}, row {values.isna().idxmax()}, column {column!r}: the target is missing")
    return values


def _number_target(frame: pd.DataFrame, column: str, path: Path) -> Tensor:
    """The numbers (N,) to predict."""
    values = numbers(frame, column, path)
    _all_given(pd.Series(values, index=frame.index), column, path)
    if np.ptp(values) == 0:
        raise RefusedError(f"{path}, column {column!r}: the target is {values[0]:g} in each row; nothing to predict")
    return torch.tensor(values, dtype=torch.float32)


def ranges(targets: Tensor, count: int = STRATA) -> Tensor:
    """Which of `count` ranges, with about as many rows each, a number (N,) is in; fewer where there are few rows."""
    count = max(1, min(count, len(targets) // 20))
    bounds = np.unique(np.quantile(targets.numpy(), np.linspace(0, 1, count + 1)[1:-1]))
    found: Sequence[Any] = np.unique(np.digitize(targets.numpy(), bounds), return_inverse=True)
    return torch.from_numpy(found[1]).long()
