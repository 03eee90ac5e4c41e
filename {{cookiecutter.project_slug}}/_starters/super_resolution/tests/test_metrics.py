"""PSNR and SSIM follow their formulas, and bicubic interpolation is given its best kernel."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from starter import photograph

from {{ cookiecutter.package_name }}.datamodules.image_files import as_tensor
from {{ cookiecutter.package_name }}.datamodules.resize import downscale
from {{ cookiecutter.package_name }}.models.enlarge import bicubic
from {{ cookiecutter.package_name }}.models.metrics import ImageScores, quality

BORDER = 4


def psnr_of(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * math.log10(1 / float(np.mean((one - other) ** 2)))


def ssim_of(one: np.ndarray, other: np.ndarray) -> float:
    """SSIM by Wang et al. 2004, section III.B and C: Gaussian window of 11 x 11, sigma 1.5, K1 0.01, K2 0.03."""
    window = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window /= window.sum()

    def mean(values: np.ndarray) -> np.ndarray:
        rows = correlate1d(values, window, axis=-1, mode="mirror")
        return correlate1d(rows, window, axis=-2, mode="mirror")

    mx, my = mean(one), mean(other)
    vx, vy, vxy = mean(one * one) - mx**2, mean(other * other) - my**2, mean(one * other) - mx * my
    similarity = (2 * mx * my + 1e-4) * (2 * vxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    return float(similarity.mean())


@pytest.mark.parametrize("number", [0, 1])
def test_psnr_and_ssim_are_those_of_their_formulas(number: int) -> None:
    true = as_tensor(photograph(number, 250, 150, 96, 80))[None].float() / 255
    enlarged = bicubic(downscale(true, 2), 2)
    within = slice(BORDER, -BORDER)
    one, other = (each.clamp(0, 1)[0, :, within, within].double().numpy() for each in (enlarged, true))
    scores = quality(enlarged, true, BORDER)
    assert scores["psnr"].item() == pytest.approx(psnr_of(one, other), abs=1e-3)
    assert scores["ssim"].item() == pytest.approx(ssim_of(one, other), abs=1e-4)


def test_each_image_of_a_batch_gets_its_own_and_the_same_one_a_finite_score() -> None:
    true = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    worse = true.clone()
    worse[1] = (worse[1] + 0.1).clamp(0, 1)
    scores = quality(worse, true, BORDER)
    assert scores["psnr"][0] == scores["psnr"][2] == 100
    assert scores["psnr"][1] < 25
    assert scores["ssim"][0] == pytest.approx(1)
    spoilt = true.clone()
    spoilt[..., :BORDER] = 0
    assert quality(spoilt, true, BORDER)["psnr"].min() == 100  # the border is ignored


def test_the_psnr_of_a_image_is_that_of_all_its_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    true, noise = torch.rand(4, 3, 24, 24, generator=generator), torch.randn(4, 3, 24, 24, generator=generator)
    worse = (true + noise * torch.tensor([0.01, 0.2, 0.05, 0.1])[:, None, None, None]).clamp(0, 1)
    metric = ImageScores()
    for part in (slice(0, 1), slice(1, 4)):  # regions of two images, interleaved
        metric.update(quality(worse[part], true[part], 2), torch.tensor([5, 8, 5, 8])[part])
    one, other = (each[..., 2:-2, 2:-2].double().numpy() for each in (worse, true))
    expected = (psnr_of(one[0::2], other[0::2]) + psnr_of(one[1::2], other[1::2])) / 2
    assert metric.compute()["psnr"].item() == pytest.approx(expected, abs=1e-3)
    assert metric.compute()["ssim"].item() == pytest.approx(quality(worse, true, 2)["ssim"].mean().item(), abs=1e-5)


def test_bicubic_is_the_better_of_the_two_kernels() -> None:
    """torch's kernel beats Pillow's here: the network is compared with the stronger."""
    for number in (0, 1):
        true = as_tensor(photograph(number, 0, 0, 640, 424))[None].float() / 255
        low = downscale(true, 2)
        softer = torch.nn.functional.interpolate(low, scale_factor=2, mode="bicubic", antialias=True)
        assert quality(bicubic(low, 2), true, 2)["psnr"] > quality(softer, true, 2)["psnr"]
