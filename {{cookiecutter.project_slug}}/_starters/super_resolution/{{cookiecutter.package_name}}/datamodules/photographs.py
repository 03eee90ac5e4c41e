"""Two photographs of 640x427 pixels that come with scikit-learn, so nothing is downloaded.

Source: china.jpg by danielbuechele and flower.jpg by vultilion, both from Flickr under CC BY 2.0.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from .regions import RegionDataModule


class PhotographsDataModule(RegionDataModule):
    """A Chinese temple, and a flower in front of a blurred background."""

    def load_images(self) -> Iterator[tuple[str, Tensor]]:
        from sklearn.datasets import load_sample_images

        photographs = load_sample_images()
        for name, pixels in zip(photographs.filenames, photographs.images, strict=True):
            yield name.replace("\\", "/").rpartition("/")[2], torch.tensor(pixels).permute(2, 0, 1)
