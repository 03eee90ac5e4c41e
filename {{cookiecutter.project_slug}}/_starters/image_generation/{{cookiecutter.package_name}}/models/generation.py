"""What generative models share, whatever they learn by: images from classes and seeds, and how good they are."""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from .frechet import frechet_distance, train_judge

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W) in [0, 1], classes (B,)


class ImageGenerator(LightningModule):
    """Draws images (`sample`), and compares them with the real ones of a split: as many, and as many of each class.

    What is drawn outside of training steps is a function of a seed for each image: not of the batch that it is in,
    and not of the random state of the training, which it leaves alone.
    """

    noise_shape: Sequence[int]  # of what one image is made from

    def __init__(self) -> None:
        super().__init__()
        # Of generated images to those of a split, and of real ones. In a dict, so that no checkpoint holds the judge.
        self.distances: dict[str, FrechetInceptionDistance] = {}
        self.seen = 0

    def sample(self, noise: Tensor, classes: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] from normal `noise` (B, *noise_shape) and `classes` (B,)."""
        raise NotImplementedError

    def noise_of(self, seeds: Tensor) -> Tensor:
        """Normal noise (B, *noise_shape) on the model's device: each row is a function of its seed (B,) alone."""
        generator = torch.Generator()
        rows = [torch.randn(*self.noise_shape, generator=generator.manual_seed(seed)) for seed in seeds.tolist()]
        return torch.stack(rows).to(self.device)

    def begin_comparing(self) -> None:
        """At the start of an epoch of validation or test; the first trains the judge."""
        if not self.distances:
            images, targets = self.images_of("train")
            if not len(images):  # other data, all of which is tested on
                images, targets = self.images_of("test")
            judge, shape = train_judge(images, targets), list(images.shape[1:])
            self.distances = {kind: frechet_distance(judge, shape) for kind in ("generated", "real")}
        for distance in self.distances.values():
            distance.to(self.device).reset()

    def seeds(self, images: Tensor, batch_idx: int) -> Tensor:
        """The number in its split of each image of a batch of validation or test (B,)."""
        first = self.seen = self.seen if batch_idx else 0
        self.seen += len(images)
        return torch.arange(first, self.seen) * self.trainer.world_size + self.trainer.global_rank

    def compare(self, batch: Batch, seeds: Tensor) -> None:
        """Draw an image of the class of each real one, and take both in."""
        images, classes = batch
        self.distances["generated"].update(self.sample(self.noise_of(seeds), classes), real=False)
        for distance in self.distances.values():
            distance.update(images, real=True)

    def images_of(self, split: str) -> Batch:
        """All images of a split of the data at hand, and their classes."""
        trainer: Any = self.trainer
        return trainer.datamodule.splits[split]

    # Test loop

    def on_test_epoch_start(self) -> None:
        self.begin_comparing()

    def on_test_epoch_end(self) -> None:
        """The distance of the generated images, and for comparison that of the validation's, which are real."""
        real = self.images_of("val")[0][self.trainer.global_rank :: self.trainer.world_size]
        self.log("test/frechet", self.distances["generated"].compute(), sync_dist=True)
        if len(real):
            self.distances["real"].update(real.to(self.device), real=False)
            self.log("test/frechet_real", self.distances["real"].compute(), sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Images (B, C, H, W) of a batch of classes and seeds, (B,) each."""
        classes, seeds = batch
        return self.sample(self.noise_of(seeds), classes)
