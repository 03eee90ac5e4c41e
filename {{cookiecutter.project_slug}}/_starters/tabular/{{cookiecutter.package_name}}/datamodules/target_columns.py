"""The column or columns to predict: numbers or a class, their tensors and statistics, and predictions as columns."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..engine import RefusedError, log, refusal
from ..models.classes import decide
from ..models.features import TargetStatistics, two_floats
from .columns import Wishes, check_precision, refuse_foreign, spread
from .kinds import holds_dates
from .table_values import is_numeric, numbers, texts

MAX_CLASSES = 1000
MAX_GRADES = 10  # whole numbers that a target may hold and still be a class


def are_numbers(frame: pd.DataFrame, target: str | list[str], wishes: Wishes, path: Path) -> bool:
    """Return True if the target is a number, or several are; False if it is a class.

    Raises RefusedError if one of several is a class.
    """
    if isinstance(target, str):
        return _is_number(frame, target, wishes, path)
    for name in target:
        if not _is_number(frame, name, wishes, path):
            why = f"{name!r} is a class, and several targets must all be numbers; train a model of its own for it"
            fix = f", or datamodule.numbers=[{name}] if it is 0 or 1" if is_numeric(frame[name]) else ""
            raise refusal("datamodule.target", target, why + fix)
    return True


def _is_number(frame: pd.DataFrame, name: str, wishes: Wishes, path: Path) -> bool:
    """Return True if a target is a number, False if it is a class; ask in the log where both are possible."""
    column = frame[name]
    if name in wishes.categories or name in wishes.numbers:
        return name in wishes.numbers
    refuse_foreign(frame, [name], path)
    if holds_dates(column):
        why = "expected a number or a class: datamodule.categories or another datamodule.target"
        raise RefusedError(f"{path}, column {name!r}: the target holds dates; {why}")
    if not is_numeric(column):
        return False
    values = np.unique(numbers(frame, name, path, _class_hint(name)))
    if set(values) == {0.0, 1.0}:
        log.info(f"Is the target {name!r} a class? It is 0 or 1: yes. datamodule.numbers=[{name}] makes it none")
        return False
    if len(values) <= MAX_GRADES and (values == np.round(values)).all():
        seen = f"{len(values)} whole numbers, {values[0]:g} to {values[-1]:g}"
        why = f"It holds {seen}: no. datamodule.categories=[{name}] makes it one"
        log.info(f"Is the target {name!r} a class? {why}")
    return True


def find_classes(columns: Iterable[pd.DataFrame], path: Path, trained: Iterable[str]) -> list[str]:
    """Return the classes in `columns`, tables of one column each, and those `trained` before, in order.

    Raises RefusedError if there are too few or too many.
    """
    found = {text for column in columns for text in texts(column, column.columns[0]).dropna().unique()}
    classes = sorted({*found, *trained})
    if not 2 <= len(classes) <= MAX_CLASSES:
        why = f"the target has {len(classes)} different values; expected 2 to {MAX_CLASSES:,} classes"
        raise RefusedError(f"{path}, column {next(iter(columns)).columns[0]!r}: {why}")
    return classes


def encode_targets(frame: pd.DataFrame, path: Path, target: str | list[str], class_names: list[str]) -> Tensor:
    """Return class indices (N,), a number (N, 2), or several (N, K, 2), each as two float32.

    Raises RefusedError if one is missing, or if there is nothing to predict.
    """
    if not isinstance(target, str):
        return torch.stack([_number(frame, name, path) for name in target], 1)
    if not class_names:
        return _number(frame, target, path)
    values = _check_complete(texts(frame, target), target, path)
    return torch.from_numpy(pd.Index(class_names).get_indexer(pd.Index(values))).long()


def _number(frame: pd.DataFrame, name: str, path: Path) -> Tensor:
    values = numbers(frame, name, path, _class_hint(name))
    _check_complete(pd.Series(values, index=frame.index), name, path)
    if np.ptp(values) == 0:
        why = f"the target is {values[0]:.10g} in each row; nothing to predict"
        raise RefusedError(f"{path}, column {name!r}: {why}")
    return two_floats(torch.tensor(values))


def target_statistics(training: pd.DataFrame, target: str | list[str], targets: Tensor, path: Path) -> TargetStatistics:
    """Compute mean and standard deviation of a number (N, 2) or of several (N, K, 2), in the training rows."""
    names = [target] if isinstance(target, str) else target
    columns = targets.double().sum(-1).reshape(len(targets), -1).numpy().T.copy()
    means, stds = [float(values.mean()) for values in columns], [spread(values) for values in columns]
    for name, values, mean, std in zip(names, columns, means, stds, strict=True):
        check_precision(training[name], values, mean, std, path)
    return {"mean": means[0], "std": stds[0]} if isinstance(target, str) else {"mean": means, "std": stds}


def prediction_columns(values: np.ndarray, hparams: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the columns that predict.py adds, from predictions (N,) or (N, K).

    They are `prediction`, or `prediction_<target>` for each of several, and `probability_<class>` for classes.
    """
    class_names, target = hparams["class_names"], hparams["target"]
    if class_names:
        decisions = decide(torch.from_numpy(values), **hparams.get("decision", {})).numpy()
        added = {"prediction": np.asarray(class_names, dtype=object)[decisions]}
        return added | {f"probability_{name}": values[:, k].round(6) for k, name in enumerate(class_names)}
    std = hparams["statistics"]["target"]["std"]
    if isinstance(target, str):
        return {"prediction": values.round(digits(std))}
    return {f"prediction_{name}": values[:, k].round(digits(std[k])) for k, name in enumerate(target)}


def digits(std: float) -> int:
    """Return the decimals of a prediction: a network computes about 7 digits, in units of `std`."""
    return min(300, max(0, 7 - math.floor(math.log10(std))))


def _class_hint(target: str) -> str:
    """Advice for a text in a target of numbers."""
    return f"; if the target is a class: datamodule.categories=[{target}]"


def _check_complete(values: pd.Series, column: str, path: Path) -> pd.Series:
    """Return the values of a target. Raises RefusedError if one is missing."""
    if values.isna().any():
        raise RefusedError(f"{path}, row {values.isna().idxmax()}, column {column!r}: the target is missing")
    return values
