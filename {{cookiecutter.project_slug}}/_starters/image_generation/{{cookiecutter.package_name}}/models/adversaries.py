"""Generator and discriminator of the GAN: class-conditional convolutional networks."""

from collections.abc import Sequence

from torch import Tensor, cat, nn

from ..engine import Count

SLOPE = 0.2  # of leaky ReLU below zero


class Generator(nn.Module):
    """Map noise (B, noise_size) and classes (B,) to images (B, C, H, W) in [0, 1].

    It starts at a quarter of the size and doubles it twice (after Radford et al., "DCGAN", 2016).
    """

    def __init__(self, input_shape: Sequence[int], num_classes: int, noise_size: int, width: Count = 16) -> None:
        super().__init__()
        channels, self.height, self.width = input_shape
        self.shape = (4 * width, -(-self.height // 4), -(-self.width // 4))
        self.classes = nn.Embedding(num_classes, noise_size)
        self.enter = nn.Linear(2 * noise_size, self.shape[0] * self.shape[1] * self.shape[2])
        self.layers = nn.Sequential(
            nn.GroupNorm(1, 4 * width),
            nn.LeakyReLU(SLOPE),
            upsample_block(4 * width, 2 * width),
            upsample_block(2 * width, width),
            nn.Conv2d(width, channels, kernel_size=3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, noise: Tensor, classes: Tensor) -> Tensor:
        features = self.enter(cat([noise, self.classes(classes)], dim=1)).unflatten(1, self.shape)
        return self.layers(features)[:, :, : self.height, : self.width]


class Discriminator(nn.Module):
    """Map images (B, C, H, W) in [0, 1] and classes (B,) to logits (B,), positive for "real".

    The class enters by projection (Miyato & Koyama, "cGANs with Projection Discriminator", 2018).
    """

    def __init__(self, input_shape: Sequence[int], num_classes: int, width: Count = 16) -> None:
        super().__init__()
        channels, height, columns = input_shape
        size = 4 * width * -(-height // 4) * -(-columns // 4)
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, kernel_size=3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width, 2 * width, kernel_size=3, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(2 * width, 4 * width, kernel_size=3, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Flatten(),
            nn.Linear(size, 4 * width),
            nn.LeakyReLU(SLOPE),
        )
        self.score = nn.Linear(4 * width, 1)
        self.classes = nn.Embedding(num_classes, 4 * width)

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        features = self.features(images * 2 - 1)
        return self.score(features)[:, 0] + (features * self.classes(classes)).mean(dim=1)


def upsample_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Upsampling block: (B, channels_in, H, W) to (B, channels_out, 2H, 2W)."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1),
        nn.GroupNorm(4, channels_out),
        nn.LeakyReLU(SLOPE),
    )
