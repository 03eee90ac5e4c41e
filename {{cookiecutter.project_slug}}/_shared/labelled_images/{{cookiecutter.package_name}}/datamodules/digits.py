"""Handwritten digits: 1,797 scans of 8×8 pixels that come with scikit-learn, so nothing is downloaded.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998 (CC BY 4.0).
"""

import torch

from .image_splits import LabelledImages
from .images import ImageDataModule


class DigitsDataModule(ImageDataModule):
    """Images (1, 8, 8) of the digits 0–9."""

    def load_images(self) -> LabelledImages:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images).float()[:, None] / 16  # pixel values are 0–16
        names = [str(name) for name in digits.target_names]
        return LabelledImages(images, torch.from_numpy(digits.target).long(), names, ids=range(len(images)))
