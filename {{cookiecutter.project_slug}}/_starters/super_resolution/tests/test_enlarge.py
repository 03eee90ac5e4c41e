"""Enlarging images of any size: tiles agree with the whole image, memory is bounded, predict.py works."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NO_LOGGER, ROOT, Command, fitting, options
from omegaconf import DictConfig
from PIL import Image, ImageCms
from pytorch_lightning import seed_everything
from starter import SMALL, photograph

from {{ cookiecutter.package_name }} import load_run
from {{ cookiecutter.package_name }}.datamodules.image_files import as_tensor, read_pixels
from {{ cookiecutter.package_name }}.datamodules.image_folder import ImageFolderDataModule
from {{ cookiecutter.package_name }}.engine.logs import log
from {{ cookiecutter.package_name }}.engine.training.train import build_datamodule, build_model
from {{ cookiecutter.package_name }}.models.enlarge import bicubic, reach, tiled

Configure = Callable[..., DictConfig]
SHORT = (
    "trainer.max_epochs=1", "trainer.limit_train_batches=20", "trainer.accelerator=cpu", *NO_LOGGER, *fitting(SMALL),
)  # fmt: skip


@pytest.fixture(scope="module")
def run(command: Command) -> Path:
    status, output = command("train.py", "name=first", *SHORT)
    assert status == 0, output
    return command.folder / "runs" / "first"


@pytest.mark.parametrize("option", options("model"))
@pytest.mark.parametrize("scale", [2, 4])
@torch.no_grad()
def test_tile_by_tile_is_as_in_one(option: str, scale: int, configure: Configure) -> None:
    """New networks are tested too: one whose receptive field exceeds `reach` would show seams."""
    seed_everything(0, verbose=False)
    cfg = configure(f"model={option}", f"datamodule.scale={scale}")
    model: Any = build_model(cfg, build_datamodule(cfg)).eval()
    for parameter in model.network.parameters():
        parameter.mul_(1.5)  # so that distant pixels have an influence
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
def test_a_large_image_takes_little_more_memory_than_its_result() -> None:
    side = 1200  # features of one layer would take 88 MB
    program = MEMORY.format(root=str(ROOT), side=side)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    small, in_tiles, in_one = (int(line) / 1024 for line in done.stdout.split())
    result = 3 * side**2 * (4 + 2**2) / 2**20  # MB of the image in floats and of its result in bytes
    assert in_tiles - small < result + 40
    assert in_one - small > result + 150


def test_a_folder_gives_a_folder_of_enlarged_images(run: Path, command: Command, own_data: Path) -> None:
    inputs = command.folder / "inputs"
    (inputs / "more").mkdir(parents=True)
    photograph(0, 200, 100, 95, 71).save(inputs / "temple.png")
    photograph(0, 200, 100, 95, 71).save(inputs / "temple.jpg")
    photograph(1, 300, 200, 21, 30).convert("L").save(inputs / "more" / "grey.png")
    (inputs / "broken.png").write_bytes((own_data / "broken.png").read_bytes())
    for _ in range(2):  # the second time the folder exists
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


def enlarged_files(inputs: Path, output: Path) -> dict[str, Image.Image]:
    """Outputs of predict.py for a network that adds nothing to bicubic interpolation."""
    data = ImageFolderDataModule(inputs)
    assert data.read_inputs(str(inputs), {"scale": 2}) == []
    for number, (low, _) in enumerate(data.predict_dataloader()):
        high = bicubic(low, 2)[0].clamp(0, 1).mul(255).round().to(torch.uint8)
        data.write_batch(high, number, output, {"scale": 2})
    return {path.name: Image.open(path) for path in output.iterdir()}


def test_an_enlarged_image_keeps_its_colours_to_a_viewer_that_knows_profiles(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    content = bytearray(srgb.tobytes())
    places = {bytes(content[at : at + 4]): at for at in range(132, 132 + 12 * 20, 12)}
    red, blue = places[b"rXYZ"], places[b"bXYZ"]
    content[red : red + 4], content[blue : blue + 4] = b"bXYZ", b"rXYZ"  # swaps red and blue
    other, grey = bytes(content), bytes(content[:16]) + b"GRAY" + bytes(content[20:])
    inputs = tmp_path / "in"
    inputs.mkdir()
    plain = Image.new("RGB", (9, 7), (230, 60, 50))
    for name, image in {"a.png": plain, "b.jpg": plain, "c.webp": plain, "d.tif": plain.quantize(2)}.items():
        image.save(inputs / name, icc_profile=other, quality=100, lossless=True)
    plain.convert("L").save(inputs / "grey.png", icc_profile=grey)
    Image.new("CMYK", (9, 7), (10, 200, 200, 20)).save(inputs / "ink.jpg", icc_profile=grey)
    Image.fromarray(np.full((7, 9), 40_000, np.uint16)).save(inputs / "deep.png")
    plain.save(inputs / "none.png")
    log.addHandler(caplog.handler)
    log.setLevel("INFO")
    try:
        written = enlarged_files(inputs, tmp_path / "out")
    finally:
        log.removeHandler(caplog.handler)
    for name in ("a_x2.png", "b_x2.png", "c_x2.png", "d_x2.png"):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(written[name].info["icc_profile"]))
        shown: Any = ImageCms.profileToProfile(written[name].convert("RGB"), profile, srgb)
        assert np.abs(np.asarray(shown).astype(int) - (50, 60, 230)).max() <= 2, name
    assert not any("icc_profile" in written[name].info for name in ("grey_x2.png", "ink_x2.png", "none_x2.png"))
    assert np.abs(np.asarray(written["deep_x2.png"]).astype(int) - round(40_000 / 257)).max() == 0
    assert "Images reduced to 8 bits per channel: 1" in caplog.messages
    assert "Images that lose their colour profile, as it is not for RGB: 2" in caplog.messages


def test_an_enlarged_image_keeps_its_transparency_and_clean_edges(tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    rows, columns = np.mgrid[:24, :24]
    seen = (rows - 12) ** 2 + (columns - 12) ** 2 < 64
    alpha = np.where(seen, 255, 0).astype(np.uint8)
    pixels = np.where(seen[..., None], (250, 80, 30), 0).astype(np.uint8)  # black where transparent
    Image.fromarray(np.dstack([pixels, alpha])).save(inputs / "disc.png")
    Image.fromarray(pixels[..., :1].repeat(3, -1)).save(inputs / "opaque.png")
    written = enlarged_files(inputs, tmp_path / "out")
    assert {name: image.mode for name, image in written.items()} == {"disc_x2.png": "RGBA", "opaque_x2.png": "RGB"}
    result = np.asarray(written["disc_x2.png"]).astype(int)
    expected = Image.fromarray(alpha).resize((48, 48), Image.Resampling.BICUBIC)
    assert np.array_equal(result[..., 3], np.asarray(expected))
    assert np.abs(result[result[..., 3] > 0][:, :3] - (250, 80, 30)).max() <= 3


def test_a_image_of_the_user_s_is_never_overwritten(run: Path, command: Command) -> None:
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


def test_the_report_shows_all_four_images(run: Path) -> None:
    with Image.open(run / "plots" / "enlarged.png") as image:
        columns = np.array_split(np.asarray(image.convert("L")).astype(float), 4, axis=1)
    assert all(column.std() > 20 for column in columns)
    assert not any(np.array_equal(columns[0][:, : columns[1].shape[1]], column) for column in columns[1:])
