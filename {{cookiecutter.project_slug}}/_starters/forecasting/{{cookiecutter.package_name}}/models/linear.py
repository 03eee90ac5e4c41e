"""A linear forecast beside the network: ridge regression on the history, fitted in closed form."""

import torch
from torch import Tensor

PENALTIES = (1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0)  # of the regression, in units of the features' mean square
MAX_WEIGHTS = 1024  # per lead

# Features (N, D), targets (N, H), and the unit of the targets in the loss (N, 1).
Problem = tuple[Tensor, Tensor, Tensor]


def fit_linear(train: Problem, val: Problem, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Fit targets by ridge regression: weights (H, D), and the quantiles (H, Q) of the errors less their median.

    The penalty is the one with the least absolute error of validation; all weights are zero if none helps.
    """
    features, targets, unit = train
    square, product = features.T @ (unit * features), features.T @ (unit * targets)
    penalty = square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
    best, errors = torch.zeros_like(product), val[1]
    for strength in PENALTIES:
        weights = torch.linalg.solve(square + strength * penalty, product)
        remain = val[1] - val[0] @ weights
        if (remain.abs() * val[2]).mean() < (errors.abs() * val[2]).mean():
            best, errors = weights, remain
    spread = errors.quantile(levels.double(), 0).T
    return best.T.float(), (spread - errors.median(0).values[:, None]).float()
