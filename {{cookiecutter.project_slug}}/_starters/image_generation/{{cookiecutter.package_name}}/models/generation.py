"""Base class of generative models: images from classes and seeds, and their Fréchet distance to real images."""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from ..datamodules.image_store import as_floats
from .frechet import frechet_distance, train_judge

REAL_BATCH = 1024  # real images compared at a time
Batch = tuple[Tensor, Tensor]  # images (B, C, H, W) in [0, 1], classes (B,)


class ImageGenerator(LightningModule):
    """Generate images (`sample`), and compare them with the real ones of a split, with equal numbers of each class.

    Outside of training steps, each image is a function of its seed: it depends neither on the batch nor on the random
    state of the training, which stays untouched.
    """

    noise_shape: Sequence[int]  # shape of the noise for one image

    def __init__(self) -> None:
        super().__init__()
        # Distances to a split: of generated images, and of real ones. In a dict, so that checkpoints omit the judge.
        self.distances: dict[str, FrechetInceptionDistance] = {}
        self.seen = 0

    def sample(self, noise: Tensor, classes: Tensor) -> Tensor:
        """Generate images (B, C, H, W) in [0, 1] from normal `noise` (B, *noise_shape) and `classes` (B,)."""
        raise NotImplementedError

    def noise_of(self, seeds: Tensor) -> Tensor:
        """Draw normal noise (B, *noise_shape) on the model's device; each row depends only on its seed (B,)."""
        generator = torch.Generator()
        rows = [torch.randn(*self.noise_shape, generator=generator.manual_seed(seed)) for seed in seeds.tolist()]
        return torch.stack(rows).to(self.device)

    def start_comparison(self) -> None:
        """Reset the distances before an epoch of validation or test; the first call trains the judge."""
        if not self.distances:
            images, targets = self.images_of("train")
            if not len(images):  # evaluation on other data has no training split
                images, targets = self.images_of("test")
            judge, shape = train_judge(images, targets), list(images.shape[1:])
            self.distances = {kind: frechet_distance(judge, shape) for kind in ("generated", "real")}
        for distance in self.distances.values():
            distance.to(self.device).reset()

    def seeds(self, images: Tensor, batch_idx: int) -> Tensor:
        """Return the seeds (B,) of a batch of validation or test: the index of each image in its split."""
        first = self.seen = self.seen if batch_idx else 0
        self.seen += len(images)
        return torch.arange(first, self.seen) * self.trainer.world_size + self.trainer.global_rank

    def compare(self, batch: Batch, seeds: Tensor) -> None:
        """Generate an image of the class of each real one, and update the distances with both."""
        images, classes = batch
        self.distances["generated"].update(self.sample(self.noise_of(seeds), classes), real=False)
        for distance in self.distances.values():
            distance.update(images, real=True)

    def images_of(self, split: str) -> tuple[Any, Tensor]:
        """Return images, a tensor or an ImageStore, and classes of a split of the trainer's datamodule."""
        trainer: Any = self.trainer
        return trainer.datamodule.splits[split]

    # Test loop

    def on_test_epoch_start(self) -> None:
        self.start_comparison()

    def on_test_epoch_end(self) -> None:
        """Log the distance of the generated images and, for comparison, of the real validation images."""
        real = self.images_of("val")[0]
        own = torch.arange(len(real))[self.trainer.global_rank :: self.trainer.world_size]
        self.log("test/frechet", self.distances["generated"].compute(), sync_dist=True)
        if len(own):
            trainer: Any = self.trainer
            for index in own.split(min(REAL_BATCH, trainer.datamodule.batch_size)):
                self.distances["real"].update(as_floats(real[index]).to(self.device), real=False)
            self.log("test/frechet_real", self.distances["real"].compute(), sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Generate images (B, C, H, W) from a batch of classes (B,) and seeds (B,)."""
        classes, seeds = batch
        return self.sample(self.noise_of(seeds), classes)
