"""Baselines for tabular: linear models on the same rows; gradient boosting is shown for comparison.

They get the numbers, NaN if missing, and the categories as such. The linear models get them scaled, imputed by the
mean, and one-hot encoded. One predicts the price, the other its logarithm, which suits a price better.
"""

from typing import Any

import numpy as np

METRIC = "rmse"
HIGHER_IS_BETTER = False
MARGIN = 200.0  # US dollars below the linear models
PLOT = "predicted_and_true"  # of the run, shown in the README
README = (
    "RMSE {mean:.0f}, {least:.0f} to {most:.0f} (gradient boosting {gradient boosting, 1,000 small steps:.0f}, "
    "linear model of its logarithm {linear, of the logarithm:.0f})"
)
BESIDE = ("gradient boosting, as it comes", "gradient boosting, 1,000 small steps")  # need not be beaten


def baselines(datamodule: Any) -> dict[str, float]:
    """Root mean squared error of each baseline on the test rows, in the target's unit."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression

    known = [np.unique(column) for column in datamodule.splits["train"][1].numpy().T]
    (train, given), (test, true) = (columns_of(*datamodule.splits[name], known) for name in ("train", "test"))
    count = len(datamodule.facts["numbers"])
    linear = prepared(LinearRegression(), count, train.shape[1])
    boosting = {"categorical_features": [*range(count, train.shape[1])], "random_state": 0}
    models = {
        "linear": linear,
        "linear, of the logarithm": TransformedTargetRegressor(linear, func=np.log, inverse_func=np.exp),
        BESIDE[0]: HistGradientBoostingRegressor(**boosting),
        BESIDE[1]: HistGradientBoostingRegressor(
            max_iter=1000, learning_rate=0.03, early_stopping=True, n_iter_no_change=30, **boosting
        ),
    }
    return {name: rmse(model.fit(train, given).predict(test), true) for name, model in models.items()}


def columns_of(numbers: Any, categories: Any, targets: Any, known: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Stack numbers and categories, as indices in `known`, to (N, F + C); also return the targets (N,)."""
    codes = [np.searchsorted(codes, column) for codes, column in zip(known, categories.numpy().T, strict=True)]
    return np.column_stack([numbers.double().sum(-1), *codes]).astype(np.float64), targets.double().sum(-1).numpy()


def prepared(model: Any, numbers: int, columns: int) -> Any:
    """Put scaling of numbers and one-hot encoding of categories before the model."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    scaled = (make_pipeline(SimpleImputer(), StandardScaler()), [*range(numbers)])
    one_hot = (OneHotEncoder(handle_unknown="ignore"), [*range(numbers, columns)])
    return make_pipeline(make_column_transformer(scaled, one_hot), model)


def rmse(predicted: np.ndarray, true: np.ndarray) -> float:
    return float(np.sqrt(np.mean((predicted - true) ** 2)))
