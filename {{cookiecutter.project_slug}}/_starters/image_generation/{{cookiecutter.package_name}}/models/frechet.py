"""Fréchet distance between generated and real images, in the features of a classifier of the training images.

The definition is that of Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017. Their feature extractor,
Inception, was trained on photographs; here a small classifier, the judge, takes its place. The distance depends on the
number of images: even two sets of real ones differ, the more the fewer they are.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from ..datamodules.image_store import as_floats
from .cnn import CNN
from .optimization import warmup_cosine

STEPS, BATCH_SIZE, WIDTH = 350, 64, 8  # a second on a CPU; 64 features, fewer than the images compared


class Judge(nn.Module):
    """Features (B, D) that the classifier `network` extracts from images (B, C, H, W)."""

    def __init__(self, network: CNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):  # the same judge in each precision of the training
            return self.network.features(images.float())


def train_judge(images: Any, targets: Tensor) -> Judge:
    """Train a small CNN to classify `images` (N, C, H, W), a tensor or an ImageStore, into the classes `targets` (N,).

    Deterministic: it runs on the CPU with its own seed, and restores torch's random state. If there is only one class,
    it learns to tell an image from its mirror images.
    """
    count, mirrors = len(images), not targets.any()
    if mirrors:
        targets = torch.arange(4).repeat_interleave(count)
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(0)
        network = CNN(images.shape[1:], int(targets.max()) + 1, width=WIDTH, dropout=0.0)
        optimizer = torch.optim.AdamW(network.parameters(), lr=6e-3, weight_decay=0.05)
        schedule = warmup_cosine(optimizer, STEPS)
        for _ in range(STEPS):
            index = torch.randint(len(targets), (BATCH_SIZE,))
            batch = as_floats(images[index % count])
            if mirrors:
                flipped = [batch, batch.flip(2), batch.flip(3), batch.flip(2, 3)]
                batch = torch.stack(flipped)[index // count, torch.arange(BATCH_SIZE)]
            loss = F.cross_entropy(network(batch), targets[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return Judge(network.eval().requires_grad_(False))


def frechet_distance(judge: Judge, shape: list[int]) -> FrechetInceptionDistance:
    """A metric with `update(images (B, C, H, W) in [0, 1], real=…)`: the squared distance, over all processes."""
    channels, height, width = shape
    return FrechetInceptionDistance(judge, normalize=True, input_img_size=(channels, height, width))
