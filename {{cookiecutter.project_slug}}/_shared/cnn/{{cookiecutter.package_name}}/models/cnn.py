"""A small convolutional network for small images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from ..engine import Count, From0Below1, Stages, refusal


def conv_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Convolution, batch normalisation and ReLU: (B, channels_in, H, W) to (B, channels_out, H, W)."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class QuadrantPool(nn.Module):
    """Average over each quadrant of the images: (B, C, H, W) to (B, C, 2, 2).

    Equal to nn.AdaptiveAvgPool2d(2), whose gradient has no deterministic kernel on a GPU.
    """

    def forward(self, images: Tensor) -> Tensor:
        height, width = (max(size, 2) for size in images.shape[2:])
        expanded = images.expand(-1, -1, height, width)  # a side of one pixel is in both halves
        return F.avg_pool2d(expanded, ((height + 1) // 2, (width + 1) // 2), (height // 2, width // 2))


class CNN(nn.Module):
    """Convolutional network with two blocks per stage: images (B, C, H, W) to logits (B, K).

    Between stages the image is halved and the channels, `width` at first, are doubled. The style is VGG's (Simonyan &
    Zisserman, 2015), with a pooling to 2×2 at the end, so that any image size works.
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
        max_stages = min(input_shape[1:]).bit_length()
        if stages > max_stages:
            size = f"{input_shape[1]}x{input_shape[2]}"
            why = f"expected at most {max_stages}: an image of {size} can't be halved more often"
            raise refusal("model.network.stages", stages, why)
        layers: list[nn.Module] = []
        channels = input_shape[0]
        for stage in range(stages):
            channels_out = width * 2**stage
            layers += [conv_block(channels, channels_out), conv_block(channels_out, channels_out)]
            if stage < stages - 1:
                layers.append(nn.MaxPool2d(2))
            channels = channels_out
        self.features = nn.Sequential(*layers, QuadrantPool(), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels * 4, num_classes))
        if channels_last:  # memory layout only: names and shapes of the weights stay
            convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))
