"""PSNR and SSIM of enlarged images against true ones."""

from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.utilities import dim_zero_cat

MAX_PSNR = 100.0  # dB, for identical images


def quality(images: Tensor, true: Tensor, border: int) -> dict[str, Tensor]:
    """Compute `psnr` in dB and `ssim`, (B,) each, of RGB images (B, 3, H, W) in [0, 1] without `border` pixels.

    PSNR is over all three channels together, SSIM is their mean (Wang et al. 2004, Gaussian window of 11).
    """
    images, true = (each.float()[..., border:-border, border:-border] for each in (images.clamp(0, 1), true))
    psnr = peak_signal_noise_ratio(images, true, data_range=1.0, reduction="none", dim=(1, 2, 3))
    ssim: Tensor = structural_similarity_index_measure(images, true, data_range=1.0, reduction="none")  # type: ignore
    return {"psnr": psnr.clamp(max=MAX_PSNR), "ssim": ssim}


class ImageScores(Metric):
    """PSNR and SSIM averaged over images, whose regions may come in any order.

    The PSNR of an image is over all its pixels, since a mean over regions would be dominated by flat ones, where any
    method reaches 50 dB. Its SSIM is the mean over its regions.
    """

    psnr: Any
    ssim: Any
    images: Any

    def __init__(self) -> None:
        super().__init__()
        for name in ("psnr", "ssim", "images"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: dict[str, Tensor], images: Tensor) -> None:
        """Add what `quality` returns for regions (B,), and the image number (B,) of each."""
        self.psnr.append(scores["psnr"])
        self.ssim.append(scores["ssim"])
        self.images.append(images)

    def compute(self) -> dict[str, Tensor]:
        """Return `psnr` in dB and `ssim`, () each."""
        _, images, regions = dim_zero_cat(self.images).unique(return_inverse=True, return_counts=True)

        def image_means(values: Tensor) -> Tensor:
            return values.new_zeros(len(regions)).index_add_(0, images, values) / regions

        errors = image_means(10 ** (-dim_zero_cat(self.psnr) / 10))  # PSNR to mean squared error
        return {"psnr": -10 * errors.log10().mean(), "ssim": image_means(dim_zero_cat(self.ssim)).mean()}
