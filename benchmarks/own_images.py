"""The row of own_data.py on images: crops of textures, beside a support vector machine on texture features."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from own_common import Context, Score, rendered, trained
from PIL import Image

SIDE, BLOCK, STRIDE = 96, 128, 32  # pixels
BLOCKS = 24  # of each photograph, at most
PHOTOGRAPHS = {
    "brick": "brick.png",
    "coffee": "coffee.png",
    "galaxies": "hubble_deep_field.jpg",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "moon": "moon.png",
    "retina": "retina.jpg",
    "tissue": "ihc.png",
}


class Crop(NamedTuple):
    """A crop, grey (96, 96), its class and its split."""

    pixels: np.ndarray
    label: str
    split: str


def texture_crops() -> Iterator[Crop]:
    """Yield 560 grey crops of 96 pixels of eight photographs. Source: scikit-image 0.26.

    A photograph is divided into blocks of 128 pixels, and each block belongs to one split, so that no pixel is both
    trained and tested on. Crops of a block overlap. Blocks with black corners (of the retina) are left out.
    """
    import skimage.data

    generator = np.random.default_rng(0)
    for label, file in PHOTOGRAPHS.items():
        photograph = np.asarray(Image.open(Path(skimage.data.__file__).parent / file).convert("L"))
        corners = [
            (top, left)
            for top in range(0, photograph.shape[0] - BLOCK + 1, BLOCK)
            for left in range(0, photograph.shape[1] - BLOCK + 1, BLOCK)
            if label != "retina" or photograph[top : top + BLOCK, left : left + BLOCK].min() > 8
        ]
        order = generator.permutation(len(corners))[:BLOCKS]
        held_out = round(len(order) * 0.2)
        for place, block in enumerate(order):
            split = "test" if place < held_out else "val" if place < 2 * held_out else "train"
            top, left = corners[block]
            for y in range(top, top + BLOCK - SIDE + 1, STRIDE):
                for x in range(left, left + BLOCK - SIDE + 1, STRIDE):
                    yield Crop(photograph[y : y + SIDE, x : x + SIDE], label, split)


def texture_features(pixels: np.ndarray) -> np.ndarray:
    """Return histograms of oriented gradients and of local binary patterns (F,) of a crop."""
    from skimage.feature import hog, local_binary_pattern

    gradients = hog(pixels, pixels_per_cell=(16, 16), cells_per_block=(2, 2))
    patterns = local_binary_pattern(pixels, 24, 3, "uniform")
    return np.concatenate([gradients, np.bincount(patterns.astype(int).ravel(), minlength=26) / patterns.size])


def support_vectors(crops: list[Crop]) -> float:
    """Return the test accuracy of a support vector machine, whose C is chosen on the validation crops."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    features = np.stack([texture_features(crop.pixels) for crop in crops])
    labels, splits = (np.array([getattr(crop, name) for crop in crops]) for name in ("label", "split"))
    train, val, test = (splits == split for split in ("train", "val", "test"))

    def fitted(strength: float, rows: np.ndarray) -> Any:
        return make_pipeline(StandardScaler(), SVC(C=strength)).fit(features[rows], labels[rows])

    chosen = max((0.1, 1, 10, 100), key=lambda strength: fitted(strength, train).score(features[val], labels[val]))
    return float(fitted(chosen, train | val).score(features[test], labels[test]))


def textures(context: Context) -> list[Score]:
    """Return the test accuracy on the crops, with default settings at the size of the crops."""
    crops = list(texture_crops())
    root = context.folder / "textures"
    for number, crop in enumerate(crops):
        file = root / crop.split / crop.label / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop.pixels).save(file)
    project = rendered(context, "image_classification")
    words = ["datamodule=image_folder", f"datamodule.root={root}", "datamodule.size=96", "datamodule.channels=1"]
    values = []
    for seed in context.seeds:
        run = trained(project, f"textures_{seed}", [*words, f"seed={seed}"])
        values.append(json.loads((run / "metrics.json").read_text())["test"]["accuracy"])
    return [Score("accuracy", values, {"HOG + LBP, SVM": support_vectors(crops)}, 0.975)]
