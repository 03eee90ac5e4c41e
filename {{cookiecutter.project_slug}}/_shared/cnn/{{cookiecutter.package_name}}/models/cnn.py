"""A small convolutional network for small images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from ..engine import Count, From0Below1, Stages, refusal


def conv_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU: (B, channels_in, H, W) to (B, channels_out, H, W)."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class Quarters(nn.Module):
    """The means of the four quarters of images: (B, C, H, W) to (B, C, 2, 2).

    It is nn.AdaptiveAvgPool2d(2), whose gradient on a GPU has no deterministic kernel.
    """

    def forward(self, images: Tensor) -> Tensor:
        height, width = (max(size, 2) for size in images.shape[2:])
        whole = images.expand(-1, -1, height, width)  # one pixel is each of its quarters
        return F.avg_pool2d(whole, ((height + 1) // 2, (width + 1) // 2), (height // 2, width // 2))


class CNN(nn.Module):
    """Two blocks a stage, halving the image between stages and doubling `width`: (B, C, H, W) to logits (B, K).

    The style is VGG's (Simonyan & Zisserman, 2015) with global pooling at the end, so any image size will do.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        width: Count = 32,
        stages: Stages = 2,
        dropout: From0Below1 = 0.2,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        most = min(input_shape[1:]).bit_length()
        if stages > most:
            why = f"expected at most {most}: an image of {input_shape[1]}x{input_shape[2]} can't be halved more often"
            raise refusal("model.network.stages", stages, why)
        layers: list[nn.Module] = []
        channels = input_shape[0]
        for stage in range(stages):
            wider = width * 2**stage
            layers += [conv_block(channels, wider), conv_block(wider, wider)]
            if stage < stages - 1:
                layers.append(nn.MaxPool2d(2))
            channels = wider
        self.features = nn.Sequential(*layers, Quarters(), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels * 4, num_classes))
        if channels_last:  # the layout of the weights in memory; their names and shapes stay
            convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))
