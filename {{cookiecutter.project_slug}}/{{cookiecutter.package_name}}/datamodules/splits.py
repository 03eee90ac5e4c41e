"""Split samples into train, val and test: at random within strata, by whole groups, as given, or by time.

With `folds` (k-fold cross-validation), the test part is the same in each fold; the rest is cut into `folds` parts, and
part `fold`, from 1, validates.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..engine import RefusedError, log, refusal

SPLIT_NAMES = {  # of folders, and in columns, in lower case
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class Split(NamedTuple):
    """Indices (n,) of the samples of each part."""

    train: Tensor
    val: Tensor
    test: Tensor


def check_split(val_fraction: float, test_fraction: float, folds: int | None, fold: int | None) -> None:
    """Raises RefusedError, with the key, if the arguments do not fit each other."""
    if folds is None and val_fraction + test_fraction >= 1:
        why = f"with test_fraction={test_fraction} nothing is left to train on"
        raise refusal("datamodule.val_fraction", val_fraction, why)
    if folds is None and fold is not None:
        raise refusal("datamodule.fold", fold, "of how many? datamodule.folds=5, say")
    if folds is not None and folds < 2:
        raise refusal("datamodule.folds", folds, "expected at least 2")
    if folds is not None and fold is None:
        raise refusal("datamodule.folds", folds, f"which of them? datamodule.fold=1; train.py folds={folds} trains all")
    if folds is not None and fold is not None and not 1 <= fold <= folds:
        raise refusal("datamodule.fold", fold, f"expected 1 to {folds}")


def split_at_random(
    size: int,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    *,
    folds: int | None = None,
    fold: int | None = None,
    strata: Tensor | None = None,
    groups: Tensor | None = None,
    sample_name: str = "samples",
    strata_names: Sequence[str] = (),
) -> Split:
    """Split `size` samples at random; an equal `seed` gives equal parts.

    With `strata` (N,), integers, each part has the proportions of the whole; with `groups` (N,), all samples of a group
    are in one part. With a `test_fraction` of 1, all are in the test part. Raises RefusedError if there are too few;
    its message calls the samples `sample_name`, and the strata, such as classes, by `strata_names`.
    """
    everything = np.arange(size)
    if test_fraction == 1:
        return Split(torch.arange(0), torch.arange(0), torch.from_numpy(everything))
    kind = (None if strata is None else strata.numpy(), None if groups is None else groups.numpy())
    try:
        rest, test = _two_parts(everything, test_fraction, seed, *kind)
        if folds is None or fold is None:
            train, val = _two_parts(rest, val_fraction / (1 - test_fraction), seed, *kind)
        else:
            train, val = _fold(rest, folds, fold, seed, *kind)
    except ValueError as error:
        in_groups = "" if groups is None else f" in {len(groups.unique())} groups"
        why = str(error)
        if strata is not None and groups is None:
            why = _rare_strata(strata, strata_names, math.ceil(max(2, folds or 2) / (1 - test_fraction))) or why
        raise RefusedError(f"datamodule: {size} {sample_name}{in_groups} are too few to be split: {why}") from error
    return Split(*(torch.from_numpy(part) for part in (train, val, test)))


def split_as_given(
    indices: Mapping[str, Tensor],
    val_fraction: float,
    test_fraction: float,
    seed: int,
    *,
    folds: int | None = None,
    fold: int | None = None,
    strata: Tensor | None = None,
    groups: Tensor | None = None,
    sample_name: str = "samples",
) -> Split:
    """Use the splits that the data comes in: `indices` holds those (n,) of train, and of val, test or both.

    A missing split is cut from train. With `folds`, train and val together are cut into them; the test stays. With a
    `test_fraction` of 1, only the test part is used or, if there is none, all samples.
    """
    if test_fraction == 1:
        return Split(torch.arange(0), torch.arange(0), indices.get("test", torch.cat([*indices.values()])))
    kind = (None if strata is None else strata.numpy(), None if groups is None else groups.numpy())
    parts = {name: index.numpy() for name, index in indices.items()}
    try:
        if "test" not in parts:
            parts["train"], parts["test"] = _two_parts(parts["train"], test_fraction, seed, *kind)
        if folds is not None and fold is not None:
            rest = np.concatenate([parts[name] for name in ("train", "val") if name in parts])
            parts["train"], parts["val"] = _fold(rest, folds, fold, seed, *kind)
        elif "val" not in parts:
            parts["train"], parts["val"] = _two_parts(parts["train"], val_fraction, seed, *kind)
    except ValueError as error:
        raise RefusedError(f"datamodule: the {sample_name} of train are too few to be split: {error}") from error
    return Split(*(torch.from_numpy(parts[name]) for name in Split._fields))


def indices_of(splits: Sequence[str]) -> dict[str, Tensor]:
    """Return the indices (n,) of the samples of each split in `splits` (N,)."""
    return {
        split: torch.tensor([n for n, each in enumerate(splits) if each == split]) for split in dict.fromkeys(splits)
    }


def log_splits(
    sizes: Mapping[str, int],
    origins: Mapping[str, str],
    val_fraction: float,
    test_fraction: float,
    folds: int | None,
    fold: int | None,
) -> None:
    """Log the size of each split and where it comes from: from `origins`, or by a fraction or fold of the rest."""
    pool = [origins[name] for name in ("train", "val") if name in origins and (name == "train" or folds)]
    of_pool = f" of {' and '.join(pool)}" if pool else ""
    cut = f"fold {fold} of {folds}{of_pool}" if folds else f"val_fraction={val_fraction:g}{of_pool}"
    how = {
        "train": f"the rest{of_pool}" if folds or len(origins) < 3 else origins["train"],
        "val": cut if folds else origins.get("val", cut),
        "test": origins.get("test", "all" if test_fraction == 1 else f"test_fraction={test_fraction:g}{of_pool}"),
    }
    log.info("Splits: " + ", ".join(f"{name} {size:,} ({how[name]})" for name, size in sizes.items() if size))


def _rare_strata(strata: Tensor, names: Sequence[str], least: int) -> str:
    """List the strata with fewer than `least` samples, by name."""
    counts = torch.bincount(strata).tolist()
    rare = [f"class {(names[k] if names else k)!r} has {count}" for k, count in enumerate(counts) if count < least]
    more = f" and {len(rare) - 5} more classes" if len(rare) > 5 else ""
    return f"{', '.join(rare[:5])}{more}; expected at least {least} of each" if rare else ""


Parts = tuple[np.ndarray, np.ndarray]


def _two_parts(
    index: np.ndarray, fraction: float, seed: int, strata: np.ndarray | None, groups: np.ndarray | None
) -> Parts:
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    if groups is not None:
        splitter = GroupShuffleSplit(n_splits=1, test_size=fraction, random_state=seed)
        first, second = next(splitter.split(index, groups=groups[index]))
        return index[first], index[second]
    stratify = None if strata is None else strata[index]
    first, second = train_test_split(index, test_size=fraction, stratify=stratify, random_state=seed)
    return first, second


def _fold(
    index: np.ndarray, folds: int, fold: int, seed: int, strata: np.ndarray | None, groups: np.ndarray | None
) -> Parts:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

    if groups is not None:
        parts = GroupKFold(folds).split(index, groups=groups[index])
    elif strata is not None:
        if (fewest := np.bincount(strata[index]).min()) < folds:
            raise ValueError(f"one class has {fewest} for {folds} folds")
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(index, strata[index])
    else:
        parts = KFold(folds, shuffle=True, random_state=seed).split(index)
    first, second = list(parts)[fold - 1]
    return index[first], index[second]


def split_in_time(
    length: int, val_fraction: float, test_fraction: float, folds: int | None = None, fold: int | None = None
) -> tuple[range, range, range]:
    """Split `length` time steps: train comes before validation, which comes before the test.

    With `folds`, the steps before the test are cut into `folds` + 1 blocks; fold k trains on the first k and validates
    on the next (rolling origin: Hyndman & Athanasopoulos, "Forecasting", section 5.10).
    """
    begin_test = length - round(length * test_fraction)
    if folds is None or fold is None:
        begin_val, end_val = begin_test - round(length * val_fraction), begin_test
    else:
        begin_val, end_val = (begin_test * part // (folds + 1) for part in (fold, fold + 1))
    return range(begin_val), range(begin_val, end_val), range(begin_test, length)
