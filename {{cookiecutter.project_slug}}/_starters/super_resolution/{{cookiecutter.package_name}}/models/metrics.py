"""How near an enlarged picture is to the true one."""

from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.utilities import dim_zero_cat

SAME = 100.0  # dB, of pictures between which there is no difference


def quality(pictures: Tensor, true: Tensor, border: int) -> dict[str, Tensor]:
    """`psnr` in dB and `ssim`, (B,) each, of RGB pictures (B, 3, H, W) in [0, 1]; `border` pixels are left out.

    PSNR is that of all three channels together, SSIM the mean of theirs (Wang et al. 2004, Gaussian window of 11).
    """
    pictures, true = (each.float()[..., border:-border, border:-border] for each in (pictures.clamp(0, 1), true))
    psnr = peak_signal_noise_ratio(pictures, true, data_range=1.0, reduction="none", dim=(1, 2, 3))
    ssim: Tensor = structural_similarity_index_measure(pictures, true, data_range=1.0, reduction="none")  # type: ignore
    return {"psnr": psnr.clamp(max=SAME), "ssim": ssim}


class PictureScores(Metric):
    """PSNR and SSIM of pictures whose regions come in any order: the mean over the pictures.

    The PSNR of a picture is that of all its pixels together, so that a flat region, of which any method makes 50 dB,
    does not hide what a method makes of the others; its SSIM is the mean over its regions.
    """

    psnr: Any
    ssim: Any
    pictures: Any

    def __init__(self) -> None:
        super().__init__()
        for name in ("psnr", "ssim", "pictures"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: dict[str, Tensor], pictures: Tensor) -> None:
        """Take in what `quality` says of regions (B,), and the number of the picture (B,) that each is from."""
        self.psnr.append(scores["psnr"])
        self.ssim.append(scores["ssim"])
        self.pictures.append(pictures)

    def compute(self) -> dict[str, Tensor]:
        """`psnr` in dB and `ssim`, () each."""
        _, pictures, regions = dim_zero_cat(self.pictures).unique(return_inverse=True, return_counts=True)

        def of_pictures(values: Tensor) -> Tensor:
            return values.new_zeros(len(regions)).index_add_(0, pictures, values) / regions

        errors = of_pictures(10 ** (-dim_zero_cat(self.psnr) / 10))  # the mean squared error is 10 ** (-PSNR / 10)
        return {"psnr": -10 * errors.log10().mean(), "ssim": of_pictures(dim_zero_cat(self.ssim)).mean()}
