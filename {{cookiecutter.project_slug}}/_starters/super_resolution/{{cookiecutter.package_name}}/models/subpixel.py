"""Sub-pixel convolution, the last layer of each network here."""

from torch import nn


class SubPixel(nn.Sequential):
    """Map features (B, C, h, w) to an image (B, 3, h * scale, w * scale), small at initialisation.

    The 3 * scale**2 channels hold the pixels that each pixel becomes: Shi et al., "Real-Time Single Image and Video
    Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network", 2016.
    """

    def __init__(self, channels: int, scale: int) -> None:
        convolution = nn.Conv2d(channels, 3 * scale**2, kernel_size=3, padding=1)
        convolution.weight.data.mul_(0.1)
        nn.init.zeros_(convolution.bias)  # type: ignore
        super().__init__(convolution, nn.PixelShuffle(scale))
