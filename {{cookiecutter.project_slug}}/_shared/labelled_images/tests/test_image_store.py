"""Images in memory, on disk and in parts in both: the same batches, the same run; what does not fit is refused."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command
from PIL import Image
from sklearn.datasets import load_digits
from starter import SMALL
from test_resume import QUICK, check_killed

from {{ cookiecutter.package_name }}.datamodules import image_store, memory
from {{ cookiecutter.package_name }}.datamodules.image_folder import ImageFolderDataModule
from {{ cookiecutter.package_name }}.datamodules.image_store import ImageStore
from {{ cookiecutter.package_name }}.engine.errors import FailedError, RefusedError


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """240 scans of digits in two folders, three of them copies."""
    digits: Any = load_digits()
    root = tmp_path / "scans"
    for number, (scan, target) in enumerate(zip(digits.images[:237], digits.target[:237] % 2, strict=True)):
        (root / "ab"[target]).mkdir(parents=True, exist_ok=True)
        Image.fromarray((scan * 255 / 16).astype(np.uint8)).save(root / "ab"[target] / f"{number:03}.png")
    for number in range(3):
        file = sorted((root / "a").iterdir())[number]
        file.with_name(f"copy_{file.name}").write_bytes(file.read_bytes())
    return root


def data_of(root: Path, **options: Any) -> Any:
    arguments: dict[str, Any] = {"size": 8, "channels": 1, "batch_size": 16, **options}
    data: Any = ImageFolderDataModule(root=root, **arguments)
    data.setup("fit")
    return data


def batches_of(data: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(3)
    return [*loader, *data.val_dataloader(), *data.test_dataloader()]


PART = 100 * 64 / 1e9  # GB: 100 of the images


@pytest.mark.parametrize("options", [{"memory": "disk"}, {"memory": PART}, {"memory": "disk", "num_workers": 2}])
def test_batches_are_the_same_from_memory_and_from_disk(
    options: dict[str, Any], scans: Path, logged: list[str]
) -> None:
    held = data_of(scans)
    assert held.num_workers == 0
    assert "Images in memory: 240 of 240 (0.00 GB)" in logged
    logged.clear()
    read = data_of(scans, **options)
    assert f"Images read from disk as they are needed: {140 if options['memory'] == PART else 240}" in logged
    assert read.num_workers == options.get("num_workers", memory.cores())
    pairs = zip(batches_of(held), batches_of(read), strict=True)
    assert all(torch.equal(one, other) for first, second in pairs for one, other in zip(first, second, strict=True))
    assert held.fingerprint() == read.fingerprint()
    assert np.array_equal(held.trained_on(), read.trained_on())
    assert held.ids == read.ids
    assert "Images kept in the same split as their exact copy: 3" in logged


def test_bytes_become_the_same_floats(scans: Path) -> None:
    data = data_of(scans)
    images, _ = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    files = [scans / name for name in data.ids["val"][:16]]
    expected = np.stack([np.asarray(Image.open(file)).astype(np.float32)[None] / 255 for file in files])
    assert images.dtype == torch.float32
    assert np.array_equal(images.numpy(), expected)


def test_images_are_held_once_as_bytes(scans: Path) -> None:
    stores: list[ImageStore] = [images for images, _ in data_of(scans).splits.values()]
    assert len({store.held.data_ptr() for store in stores}) == 1
    assert (stores[0].held.dtype, stores[0].held.shape) == (torch.uint8, (240, 1, 8, 8))
    assert sum(map(len, stores)) == 240


def test_what_does_not_fit_is_refused_with_the_numbers(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_store, "free_memory", lambda: 2_000_000)
    cases: dict[str, dict[str, Any]] = {
        r"datamodule.memory=1.5: 240 images of 1x100x100 take 0.0 GB of memory; 0.0 GB are free": {
            "size": 100, "memory": 1.5
        },
        r"datamodule.size=400: 8 images of 1x400x400 at a time take 0.0 GB of memory; 0.0 GB are free": {"size": 400},
        r"datamodule.size=100: a batch of 64 images of 1x100x100 takes 0.0 GB": {"size": 100, "batch_size": 64},
    }  # fmt: skip
    for why, options in cases.items():
        with pytest.raises(RefusedError, match=why):
            data_of(scans, **options)
    half = data_of(scans, size=80)
    assert {len(images.held) for images, _ in half.splits.values()} == {156}  # half of the free memory


def test_large_data_is_known_by_names_sizes_and_times(
    scans: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    small = data_of(scans)
    assert small.fingerprint_of == "content"
    os.utime(scans / "a" / "000.png", (1, 1))
    assert data_of(scans).fingerprint() == small.fingerprint()
    monkeypatch.setattr(image_store, "MAX_CHECKED", 1000)
    large = data_of(scans, memory="disk")
    assert large.fingerprint_of == "names, sizes and times of files"
    assert any(line.startswith("Too many to be compared: copies are not looked for") for line in logged)
    assert data_of(scans).fingerprint() == large.fingerprint()
    assert all(map(torch.equal, batches_of(data_of(scans))[0], batches_of(large)[0]))
    os.utime(scans / "a" / "000.png", (2, 2))
    assert data_of(scans).fingerprint() != large.fingerprint()
    assert large.is_seen(large.trained_on()).sum() == 0
    broken = next(scans / name for name in large.ids["val"])
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(FailedError, match=f"{broken} can't be read as an image .*; repair it, or take it away"):
        batches_of(large)
    with pytest.raises(RefusedError, match=f"^datamodule.root: {broken} can't be read"):
        data_of(scans)


def test_images_are_held_in_half_of_the_memory_shared_by_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_store, "free_memory", lambda: 8_000_000)
    for name in ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert image_store.count_held("auto", 9999, (1, 10, 10)) == 9999
    assert image_store.count_held("auto", 99_999, (1, 10, 10)) == 40_000
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert image_store.count_held("auto", 99_999, (1, 10, 10)) == 10_000
    assert image_store.count_held(0.004, 99_999, (1, 10, 10)) == 10_000


def test_large_images_of_one_size_and_name_are_not_taken_for_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_store, "MAX_CHECKED", 0)
    noise = np.random.default_rng(0)
    for root in ("ours", "theirs"):
        for number in range(40):
            (tmp_path / root / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
            pixels = noise.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / root / "ab"[number % 2] / f"{number}.bmp")
    ours, theirs = (data_of(tmp_path / root) for root in ("ours", "theirs"))
    assert not theirs.is_seen(ours.trained_on()).any()
    assert data_of(tmp_path / "ours", split_seed=1).is_seen(ours.trained_on()).any()


def words_of(root: Path, *options: str) -> list[str]:
    return ["datamodule=image_folder", f"datamodule.root={root}", "datamodule.size=8", *SMALL, *options]


def test_a_run_from_disk_that_is_killed_resumes_as_one_from_memory(scans: Path, command: Command) -> None:
    disk = ("datamodule.batch_size=16", "datamodule.memory=disk", "datamodule.num_workers=2")
    killed = check_killed(command, "disk", *words_of(scans, *disk))
    assert json.loads((killed / "provenance.json").read_text())["data_sha256_of"] == "content"
    status, output = command("train.py", "name=held", *words_of(scans, disk[0]), *QUICK)
    assert status == 0, output
    assert "Images in memory: 240 of 240" in output
    for file in ("metrics.csv", "metrics.json"):
        assert (command.folder / "runs" / "held" / file).read_bytes() == (killed / file).read_bytes()


def test_a_run_from_parquet_that_is_killed_resumes_with_the_batches_of_memory(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    from test_image_packs import table, write

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "scans"
    for part in range(2):
        write(root / f"train-{part:05}-of-00002.parquet", table(range(120 * part, 120 * part + 120)))
    batches = [batches_of(data_of(root, **options)) for options in ({}, {"memory": "disk", "num_workers": 2})]
    pairs = zip(*batches, strict=True)
    assert all(torch.equal(one, other) for first, second in pairs for one, other in zip(first, second, strict=True))
    disk = ("datamodule.batch_size=16", "datamodule.memory=disk", "datamodule.num_workers=2")
    killed = check_killed(command, "packs", *words_of(root, *disk))
    assert json.loads((killed / "provenance.json").read_text())["data_sha256_of"] == "content"


def test_a_file_that_breaks_during_training_is_named_in_one_line(scans: Path, tmp_path: Path) -> None:
    """It is read by a worker, in a process of its own."""
    data = data_of(scans, memory="disk", num_workers=1)
    broken = next(scans / name for name in data.ids["test"])
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(FailedError) as caught:
        [*data.test_dataloader()]
    (line,) = caught.value.args
    assert line.startswith(f"{broken} can't be read as an image (")
    assert line.endswith("; repair it, or take it away")
    assert "\n" not in line
