"""Enlarging pictures of any size: tile by tile as in one, in bounded memory, from the command line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NO_LOGGER, ROOT, Command, options
from omegaconf import DictConfig
from PIL import Image
from pytorch_lightning import seed_everything
from starter import SMALL, photograph

from {{ cookiecutter.package_name }} import load_run
from {{ cookiecutter.package_name }}.datamodules.pictures import as_tensor, read_pixels
from {{ cookiecutter.package_name }}.engine.train import build_datamodule, build_model
from {{ cookiecutter.package_name }}.models.enlarge import reach, tiled

Configure = Callable[..., DictConfig]
SHORT = ("trainer.max_epochs=1", "trainer.limit_train_batches=20", "trainer.accelerator=cpu", *NO_LOGGER, *SMALL)


@pytest.fixture(scope="module")
def run(command: Command) -> Path:
    status, output = command("train.py", "name=first", *SHORT)
    assert status == 0, output
    return command.folder / "runs" / "first"


@pytest.mark.parametrize("option", options("model"))
@pytest.mark.parametrize("scale", [2, 4])
@torch.no_grad()
def test_tile_by_tile_is_as_in_one(option: str, scale: int, configure: Configure) -> None:
    """A network that you add is tested too: one that sees further than `reach` says would show seams."""
    seed_everything(0, verbose=False)
    cfg = configure(f"model={option}", f"datamodule.scale={scale}")
    model: Any = build_model(cfg, build_datamodule(cfg)).eval()
    for parameter in model.network.parameters():
        parameter.mul_(1.5)  # so that what is far away has a say
    low = as_tensor(photograph(0, 200, 100, 95, 71))[None].float() / 255
    whole, halo = model(low)[0], reach(model.network)
    assert whole.shape == (3, 71 * scale, 95 * scale)
    for tile in (16, 40, 200):
        assert (tiled(model, low, scale, tile, halo) - whole).abs().max() < 1e-4
    assert (tiled(model, low, scale, 16, 0) - whole).abs().max() > 1e-3  # without a halo there are seams


MEMORY = """
import sys, torch
from pathlib import Path
sys.path.insert(0, {root!r})
from {{ cookiecutter.package_name }}.models.edsr import EDSR
from {{ cookiecutter.package_name }}.models.enlarge import reach, tiled
torch.set_num_threads(1)
network = EDSR(scale=2, width=16, blocks=1)
with torch.no_grad():
    for side, tile in ((64, 64), ({side}, 128), ({side}, {side})):
        low = torch.zeros(1, 3, side, side)
        tiled(lambda part: network(part).to(torch.uint8), low, 2, tile, reach(network))
        print(next(line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_a_large_picture_takes_little_more_memory_than_its_result() -> None:
    side = 1200  # its features alone would be 88 MB a layer
    program = MEMORY.format(root=str(ROOT), side=side)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    small, in_tiles, in_one = (int(line) / 1024 for line in done.stdout.split())
    result = 3 * side**2 * (4 + 2**2) / 2**20  # the picture in floats, and what becomes of it in bytes
    assert in_tiles - small < result + 40
    assert in_one - small > result + 150


def test_a_folder_gives_a_folder_of_enlarged_pictures(run: Path, command: Command, own_data: Path) -> None:
    inputs = command.folder / "inputs"
    (inputs / "more").mkdir(parents=True)
    photograph(0, 200, 100, 95, 71).save(inputs / "temple.png")
    photograph(0, 200, 100, 95, 71).save(inputs / "temple.jpg")
    photograph(1, 300, 200, 21, 30).convert("L").save(inputs / "more" / "grey.png")
    (inputs / "broken.png").write_bytes((own_data / "broken.png").read_bytes())
    for _ in range(2):  # the folder may be there
        status, output = command("predict.py", "run=runs/first", "input=inputs", "output=out", "datamodule.tile=16")
        assert status == 0, output
        assert "broken.png can't be read" in output
        assert "3 predictions in out, 1 left out" in output
    sizes = {path.relative_to(command.folder / "out").as_posix(): Image.open(path).size
             for path in (command.folder / "out").rglob("*.png")}  # fmt: skip
    assert sizes == {"temple_png_x2.png": (190, 142), "temple_jpg_x2.png": (190, 142), "more/grey_x2.png": (42, 60)}
    model, _ = load_run(run)
    low = as_tensor(read_pixels(inputs / "temple.png", 3))[None].float() / 255
    expected = model(low)[0].clamp(0, 1).mul(255).detach()
    written = as_tensor(Image.open(command.folder / "out" / "temple_png_x2.png"))
    assert (written - expected).abs().max() <= 0.51


def test_a_picture_of_the_user_s_is_never_overwritten(run: Path, command: Command) -> None:
    folder = command.folder / "own"
    folder.mkdir()
    photograph(1, 300, 200, 21, 30).save(folder / "cat.png")
    photograph(1, 300, 200, 42, 60).save(folder / "cat_x2.png")
    before = (folder / "cat_x2.png").read_bytes()
    status, output = command("predict.py", "run=runs/first", "input=own", "output=own")
    assert status == 2, output
    assert output.startswith("output=own/cat_x2.png: lies in own, which is read, and is not overwritten; ")
    assert (folder / "cat_x2.png").read_bytes() == before


def test_a_model_is_not_evaluated_at_another_scale(run: Path, command: Command) -> None:
    status, output = command("evaluate.py", "run=runs/first", "datamodule.scale=4")
    assert status == 2
    assert "its scale is 4; the model was trained with 2" in output


def test_the_report_shows_all_four_pictures(run: Path) -> None:
    with Image.open(run / "pictures" / "enlarged.png") as picture:
        columns = np.array_split(np.asarray(picture.convert("L")).astype(float), 4, axis=1)
    assert all(column.std() > 20 for column in columns)
    assert not any(np.array_equal(columns[0][:, : columns[1].shape[1]], column) for column in columns[1:])
