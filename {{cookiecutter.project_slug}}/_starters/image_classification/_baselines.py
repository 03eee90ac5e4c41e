"""Baselines for image_classification: two scikit-learn classifiers on the same images."""

from typing import Any

from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

METRIC = "accuracy"
HIGHER_IS_BETTER = True
MARGIN = 0.0
PLOT = "confusion_matrix"  # of the run, shown in the README
README = "accuracy {mean:.3f} (logistic regression {logistic regression:.3f})"


def baselines(datamodule: Any) -> dict[str, float]:
    """Test accuracy of each baseline."""
    flat = {name: (images.flatten(1).numpy(), targets.numpy()) for name, (images, targets) in datamodule.splits.items()}
    classifiers = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "nearest neighbour": KNeighborsClassifier(1),
    }
    return {name: each.fit(*flat["train"]).score(*flat["test"]) for name, each in classifiers.items()}
