"""Base class for datamodules of tables: columns, splits, statistics, and input and output of predict.py.

To use your own table, give a file (table.py), or subclass TabularDataModule and write `load_table`; see diamonds.py.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import pandas as pd
import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader

from ..engine import Above0Below1, From0Below1, Seed, log, refusal
from ..engine.order import content_keys
from ..models.features import Statistics
from .base import TensorDataModule
from .columns import (
    Columns,
    Wishes,
    category_statistics,
    choose_columns,
    encode,
    find_dates,
    number_statistics,
    sources,
    unfamiliar,
)
from .dates import expanded
from .rows import Asked, divide, row_weights, strata_of
from .splits import check_split
from .table_files import add_columns, read_table
from .table_values import need_columns
from .target_columns import MAX_GRADES, are_numbers, encode_targets, find_classes, prediction_columns, target_statistics


class Table(NamedTuple):
    """Rows of a table, and the file they come from, for messages."""

    frame: pd.DataFrame
    path: Path


class TabularFacts(TypedDict):
    """The data's properties that are passed to the model; `statistics` are computed from the training rows."""

    numbers: list[str]  # number columns
    categories: list[str]  # category columns
    target: str | list[str]  # the column to predict, or several
    class_names: list[str]  # in the order of the logits; empty if a number is predicted
    statistics: Statistics


class TabularDataModule(TensorDataModule):
    """Rows of a table in memory. Batches are `(numbers (B, F, 2), categories (B, C), targets)`.

    Numbers are those of the table, NaN if missing, each as two float32 (see two_floats); categories are codes (see
    columns.py). `target` is the column to predict, by default the last. It is a class (B,) if its column holds texts,
    0 and 1 alone, or is listed in `categories`, else a number (B, 2); a list of K targets is numbers (B, K, 2).
    `columns` predict it; by default all others except those in `drop`. Dates give their parts (dates.py), the texts of
    `ordinal` columns their places.

    Which rows test: those that `split`, a column, says; the latest by `time`, a column; else some at random, stratified
    by class, or by up to ten quantile bins of the number, with all rows of one of the `groups`, a column, in one split.
    With `weights`, a column, training batches have the weights (B,) of their rows too, which are 1 on average. With
    `balance`, an epoch has equally many training rows of each class: those of rare classes are repeated, others are
    left to later epochs.
    """

    sample_name = "rows"
    input_example = "<a CSV or Parquet file>"
    output_suffixes = ".csv .tsv .parquet"  # that predict.py can write

    def __init__(
        self,
        target: str | list[str] | None = None,
        columns: list[str] | None = None,
        drop: list[str] | None = None,
        categories: list[str] | None = None,
        numbers: list[str] | None = None,
        dates: dict[str, str] | None = None,
        ordinal: dict[str, list[str | int]] | None = None,
        weights: str | None = None,
        split: str | None = None,
        time: str | None = None,
        groups: str | None = None,
        balance: bool = False,
        val_fraction: Above0Below1 = 0.1,
        test_fraction: From0Below1 = 0.2,
        split_seed: Seed = 0,
        folds: PositiveInt | None = None,
        fold: PositiveInt | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_split(val_fraction, test_fraction, folds, fold)
        self.val_fraction, self.test_fraction, self.split_seed = val_fraction, test_fraction, split_seed
        self.folds, self.fold = folds, fold
        self.target = target[0] if isinstance(target, list) and len(target) == 1 else target or ""
        self.drop = drop or []
        orders = {name: [str(text) for text in order] for name, order in (ordinal or {}).items()}
        self.wishes = Wishes(columns, categories or [], numbers or [], dates or {}, orders)
        self.weights, self.split, self.time, self.groups = weights, split, time, groups
        self.balance = balance
        self.chosen = Columns([], [])
        self.class_names: list[str] = []
        self.statistics: Statistics = {"numbers": {}, "categories": {}}
        self.origin = ""  # where the splits come from, for the log
        self.input_table: Table | None = None  # for predict.py

    def load_table(self) -> Table:
        """Load all rows. Raises RefusedError if they can't be read."""
        raise NotImplementedError(f"{type(self).__name__} must define load_table()")

    def load_test_table(self) -> Table | None:
        """Load the test rows, if they lie elsewhere."""
        return None

    def take_whole(self) -> None:
        super().take_whole()
        self.split = self.time = self.groups = self.weights = None

    def load_splits(self) -> dict[str, tuple[Tensor, ...]]:
        frame, path = self.load_table()
        other = self.load_test_table()
        self.target = self.target or self.trained.get("target") or frame.columns[-1]
        self._check_columns(frame, path)
        found = self._find_columns(frame, path)
        known = self.trained.get("target") == self.target
        numeric = not self.trained["class_names"] if known else are_numbers(frame, self.target, self.wishes, path)
        if self.balance and numeric:
            raise refusal("datamodule.balance", True, "is for classes; the target is a number: expected false")
        tables = [Table(expanded(frame, found, path), path)]
        if other is not None:
            need_columns(other.frame, [*sources(self.chosen, found), *self.targets], other.path, "datamodule.test")
            tables.append(Table(expanded(other.frame, found, other.path), other.path))
        if isinstance(self.target, str) and not numeric:
            columns = [table.frame[[self.target]] for table in tables]
            self.class_names = find_classes(columns, path, self.trained.get("class_names", ()))
        targets = torch.cat([encode_targets(*table, self.target, self.class_names) for table in tables])
        parts = self._divide(tables[0], targets[: len(frame)], numeric, other)
        rows = np.concatenate([table.frame.index for table in tables])
        self.ids = {name: rows[index.numpy()].tolist() for name, index in parts.items()}
        self._learn_statistics(tables[0].frame.iloc[parts["train"].numpy()], path, targets[parts["train"]], found)
        tensors = (*self._encode(tables), targets)
        splits = {name: tuple(tensor[index] for tensor in tensors) for name, index in parts.items()}
        if self.weights is not None:
            splits["train"] += (row_weights(frame, self.weights, path, parts["train"]),)
        return splits

    def strata(self) -> Tensor | None:
        return self.splits["train"][2] if self.balance else None

    def _encode(self, tables: list[Table]) -> tuple[Tensor, Tensor]:
        """Encode the rows of all tables: numbers (N, F, 2) and codes (N, C)."""
        known = self.trained.get("statistics", {}).get("categories")
        numbers, codes = zip(*(encode(table.frame, self.chosen, table.path, known) for table in tables), strict=True)
        return torch.cat(numbers), torch.cat(codes)

    def _find_columns(self, frame: pd.DataFrame, path: Path) -> Statistics:
        """Choose the columns that predict, or take those of a trained model; return its dates and ordinal columns."""
        named, trained = self.wishes.columns, self.trained.get("statistics")
        if trained and (named is None or {*named} == {*self._trained_sources()}):  # a small table may suggest others
            need_columns(frame, self._trained_sources(), path, "datamodule.root")
            self.chosen = Columns(self.trained["numbers"], self.trained["categories"])
            return trained
        used = {*self.targets, self.groups, self.split, self.weights, *self.drop}
        others = [name for name in frame.columns if name not in used]
        later = self.time is not None
        found = find_dates(frame, others if named is None else named, self.wishes, path, later)
        if later and named is None and self.time not in found.get("dates", {}):
            others = [name for name in others if name != self.time]
        self.chosen = choose_columns(frame, self.wishes, others, found, path)
        return found

    def _trained_sources(self) -> list[str]:
        """Return the columns of a table that the trained model was built from."""
        chosen = Columns(self.trained["numbers"], self.trained["categories"])
        return sources(chosen, self.trained.get("statistics", {}))

    def _divide(self, table: Table, targets: Tensor, numeric: bool, other: Table | None) -> dict[str, Tensor]:
        """Return the indices of the rows of each split; those of the table `other` come after those of `table`."""
        asked = Asked(
            self.val_fraction, self.test_fraction, self.split_seed, self.folds, self.fold, self.split, self.time,
            self.groups,
        )  # fmt: skip
        tested = None if other is None else len(table.frame) + torch.arange(len(other.frame))
        first = targets if isinstance(self.target, str) else targets[:, 0]
        strata = strata_of(first.double().sum(-1).numpy(), asked) if numeric else targets
        form = self.wishes.dates.get(self.time or "", "")
        parts, self.origin = divide(*table, asked, strata, self.class_names, tested, form)
        if other is not None:
            self.origin += f", test from {other.path}"
        return parts._asdict()

    def _check_columns(self, frame: pd.DataFrame, path: Path) -> None:
        """Raises RefusedError if a named column is missing or used twice."""
        wishes = self.wishes
        single = {"weights": self.weights, "split": self.split, "time": self.time, "groups": self.groups}
        named: dict[str, Any] = {
            "target": self.targets, "columns": wishes.columns, "drop": self.drop, "categories": wishes.categories,
            "numbers": wishes.numbers, "dates": wishes.dates, "ordinal": wishes.ordinal,
            **{key: [name] for key, name in single.items() if name},
        }  # fmt: skip
        for key, columns in named.items():
            need_columns(frame, [*(columns or [])], path, f"datamodule.{key}")
        for name in {*self.targets}.intersection(wishes.columns or []):
            raise refusal("datamodule.columns", wishes.columns, f"{name!r} is the target: it would predict itself")
        if len({*self.targets}) < len(self.targets):
            raise refusal("datamodule.target", self.target, "expected each column once")
        for name in {*self.targets, *(wishes.columns or [])}.intersection(self.drop):
            raise refusal("datamodule.drop", self.drop, f"{name!r} is the target or one of datamodule.columns")
        for key, name in single.items():
            if name in self.targets:
                raise refusal(f"datamodule.{key}", name, "is the target; expected another column, or null")
        kinds = {key: {*named[key]} for key in ("categories", "numbers", "dates", "ordinal")}
        for (key, columns), (other, others) in itertools.combinations(kinds.items(), 2):
            for name in columns & others:
                raise refusal(f"datamodule.{key}", sorted(columns), f"{name!r} is in datamodule.{other} too")
        if self.time and (self.split or self.groups):
            other = "split" if self.split else "groups"
            raise refusal("datamodule.time", self.time, f"divides the rows, and so does datamodule.{other}")
        self._check_trained()

    def _check_trained(self) -> None:
        """Raises RefusedError if the arguments contradict how a trained model uses a column."""
        if not self.trained.get("statistics"):
            return
        for name in (name for name in self.drop if name in self._trained_sources()):
            raise refusal("datamodule.drop", self.drop, f"the model was trained on {name!r} and needs it; leave it out")
        for name in (name for name in self.wishes.categories if name in self.trained["numbers"]):
            why = f"the model was trained on {name!r} as a number; leave it out"
            raise refusal("datamodule.categories", self.wishes.categories, why)

    def _learn_statistics(self, training: pd.DataFrame, path: Path, targets: Tensor, found: Statistics) -> None:
        """Set `statistics` of the training rows, with the dates and ordinal columns in `found`."""
        self.statistics = {
            "numbers": number_statistics(training, self.chosen, path),
            "categories": category_statistics(training, self.chosen),
        }
        if "dates" in found:
            self.statistics["dates"] = found["dates"]
        if "ordinal" in found:
            self.statistics["ordinal"] = found["ordinal"]
        if self.class_names:
            self.statistics["class_counts"] = torch.bincount(targets, minlength=len(self.class_names)).tolist()
        elif len(targets):
            self.statistics["target"] = target_statistics(training, self.target, targets, path)

    @property
    def targets(self) -> list[str]:
        """Names of the columns to predict."""
        return [self.target] if isinstance(self.target, str) else list(self.target)

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
        several = "a number" if isinstance(self.target, str) else f"{len(self.target)} numbers"
        kind = f"{len(self.class_names)} classes" if self.class_names else several
        columns = f"{len(self.chosen.numbers)} columns of numbers, {len(self.chosen.categories)} of categories"
        text = f"{', '.join(self.targets)} ({kind}) from {columns}, rows: {self.split_sizes()} ({self.origin})"
        if 0 < len(self.class_names) <= MAX_GRADES:
            counts = torch.bincount(torch.cat([split[2] for split in self.splits.values()]), minlength=2).tolist()
            text += "; " + ", ".join(f"{count:,} {name}" for count, name in zip(counts, self.class_names, strict=True))
        return text

    # The content of a row is that of its columns: a weight does not make it another row

    def trained_on(self) -> np.ndarray:
        return np.concatenate([content_keys(self.splits[split][:3]) for split in ("train", "val")])

    # Input and output of predict.py

    def read_inputs(self, source: str, hparams: Mapping[str, Any]) -> list[str]:
        """Read the CSV or Parquet file `source`, which must have the columns that the model was trained on.

        Other columns, including the target, are kept. Raises RefusedError if a column is missing or can't be read.
        """
        path = Path(source)
        self.input_table = Table(read_table(path, "input"), path)
        chosen, statistics = Columns(hparams["numbers"], hparams["categories"]), hparams["statistics"]
        need_columns(self.input_table.frame, sources(chosen, statistics), path, "input")
        frame = expanded(self.input_table.frame, statistics, path)
        self.inputs = encode(frame, chosen, path, statistics["categories"])
        for line in unfamiliar(self.inputs, chosen, statistics, frame):
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
        """Write the input's rows and columns, with the predictions added (see target_columns.py)."""
        if self.input_table is None:
            raise RuntimeError("call read_inputs() first")
        values = torch.cat(outputs).double().cpu().numpy()
        added = prediction_columns(values, hparams)
        add_columns(self.input_table.path, path, added, self.input_table.frame.index)
        return len(values)
