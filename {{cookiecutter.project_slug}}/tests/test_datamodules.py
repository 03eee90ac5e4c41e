"""The contract of every datamodule in configs/datamodule/: one that you add is tested by being there."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from conftest import options
from omegaconf import DictConfig

from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.engine.training.train import build_datamodule

Configure = Callable[..., DictConfig]

pytestmark = pytest.mark.parametrize("option", options("datamodule"))


def digest(loader: Iterable[Any]) -> str:
    """Of each tensor of each batch."""
    sha = hashlib.sha256()
    for batch in loader:
        for tensor in batch:
            sha.update(tensor.contiguous().numpy().tobytes())
    return sha.hexdigest()


def ids(data: Any, split: str) -> list[Any]:
    """What names each sample of a split, in its order."""
    loader = {"train": data.train_dataloader, "val": data.val_dataloader, "test": data.test_dataloader}[split]()
    return [str(each) for each in data.sample_ids(split, torch.arange(loader.sampler.size))]


def test_no_sample_is_in_two_splits_and_none_is_there_twice(option: str, configure: Configure) -> None:
    data = build_datamodule(configure(f"datamodule={option}"))
    every = [name for split in ("train", "val", "test") for name in ids(data, split)]
    assert len(every) == len(set(every)) > 0


def test_the_split_does_not_depend_on_the_run_s_seed(option: str, configure: Configure) -> None:
    prints = [build_datamodule(configure(f"datamodule={option}", f"seed={seed}")).fingerprint() for seed in (0, 1)]
    assert prints[0] == prints[1]
    if "split_seed" in configure(f"datamodule={option}").datamodule:
        assert build_datamodule(configure(f"datamodule={option}", "datamodule.split_seed=1")).fingerprint() != prints[0]


def test_the_order_is_a_function_of_seed_and_epoch(option: str, configure: Configure) -> None:
    def of(seed: int, epoch: int) -> str:
        loader = build_datamodule(configure(f"datamodule={option}", f"seed={seed}")).train_dataloader()
        loader.sampler.set_epoch(epoch)
        return digest(batch for batch, _ in zip(loader, range(5), strict=False))

    assert of(0, 0) == of(0, 0)
    assert len({of(0, 0), of(0, 1), of(1, 0)}) == 3


def test_what_is_evaluated_is_the_same_each_time(option: str, configure: Configure) -> None:
    one, other = (build_datamodule(configure(f"datamodule={option}", f"seed={seed}")) for seed in (0, 1))
    for name in ("val_dataloader", "test_dataloader"):
        assert digest(getattr(one, name)()) == digest(getattr(one, name)()) == digest(getattr(other, name)())


def test_each_fold_validates_on_a_part_of_its_own_and_all_test_on_the_same(option: str, configure: Configure) -> None:
    def fold(number: int) -> Any:
        return build_datamodule(
            configure(f"datamodule={option}", "++datamodule.folds=3", f"++datamodule.fold={number}")
        )

    try:
        folds = [fold(number) for number in (1, 2, 3)]
    except RefusedError as error:
        assert "folds" in str(error)  # noqa: PT017
        pytest.skip(str(error))
    validated = [name for data in folds for name in ids(data, "val")]
    assert len(validated) == len(set(validated)) > 0
    for data in folds:
        assert not {*ids(data, "train")}.intersection(ids(data, "val"), ids(data, "test"))
    tests = {digest(data.test_dataloader()) for data in [*folds, build_datamodule(configure(f"datamodule={option}"))]}
    assert len(tests) == 1


@pytest.mark.parametrize("words", [("fold=2",), ("folds=3",), ("folds=1", "fold=1"), ("folds=3", "fold=4")])
def test_folds_that_make_no_sense_are_refused_by_name(
    words: tuple[str, ...], option: str, configure: Configure
) -> None:
    with pytest.raises(RefusedError, match=r"datamodule\.?.*folds?"):
        build_datamodule(configure(f"datamodule={option}", *(f"++datamodule.{word}" for word in words)))
