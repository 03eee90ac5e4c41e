"""A small convolutional network for small pictures."""

from collections.abc import Sequence

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from ..front_door.values import Share


def conv_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU: (B, channels_in, H, W) to (B, channels_out, H, W)."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class CNN(nn.Module):
    """Two blocks a stage, halving the picture between stages and doubling `width`: (B, C, H, W) to logits (B, K).

    The style is VGG's (Simonyan & Zisserman, 2015) with global pooling at the end, so any picture size will do.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        width: PositiveInt = 32,
        stages: PositiveInt = 2,
        dropout: Share = 0.2,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = input_shape[0]
        for stage in range(stages):
            wider = width * 2**stage
            layers += [conv_block(channels, wider), conv_block(wider, wider)]
            if stage < stages - 1:
                layers.append(nn.MaxPool2d(2))
            channels = wider
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels * 4, num_classes))
        if channels_last:  # the layout of the weights in memory; their names and shapes stay
            convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))
