"""A linear forecast beside the network: ridge regression on the history, fitted in closed form."""

from typing import NamedTuple

import torch
from torch import Tensor

PENALTIES = (1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0)  # of the regression, in units of the features' mean square
MAX_WEIGHTS = 1024  # per lead, of steps of the history


class Problem(NamedTuple):
    """A regression of `targets` (N, H), in what `unit` (N, 1) of the loss.

    All leads have the `features` (N, D), and each has `changes` (N, H, E) of its own, from covariates.
    """

    features: Tensor
    changes: Tensor
    targets: Tensor
    unit: Tensor


def fit_linear(train: Problem, val: Problem, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Fit the regression: weights (H, D + E), and the quantiles (H, Q) of the errors less their median.

    The penalty is the one with the least absolute error of validation; all weights are zero if none helps.
    """
    size = train.features.shape[1]
    best, errors = torch.zeros(val.targets.shape[1], size + train.changes.shape[2]), val.targets
    for weights in ridge(train):
        ahead = torch.einsum("nhe,he->nh", val.changes, weights[:, size:])
        remain = val.targets - val.features @ weights[:, :size].T - ahead
        if (remain.abs() * val.unit).mean() < (errors.abs() * val.unit).mean():
            best, errors = weights, remain
    spread = errors.quantile(levels.double(), 0).T
    return best.float(), (spread - errors.quantile(0.5, 0)[:, None]).float()


def ridge(train: Problem) -> list[Tensor]:
    """Solve the normal equations for each penalty: weights (H, D + E) each."""
    features, changes, targets, unit = train
    square, product = features.T @ (unit * features), features.T @ (unit * targets)
    strength = square.diagonal().mean()
    if not changes.shape[2]:  # the same equations for all leads
        penalty = strength * torch.eye(len(square), dtype=square.dtype)
        return [torch.linalg.solve(square + each * penalty, product).T for each in PENALTIES]
    solutions = []
    for lead in range(targets.shape[1]):
        own = changes[:, lead]
        cross = features.T @ (unit * own)
        whole = torch.cat([torch.cat([square, cross], 1), torch.cat([cross.T, own.T @ (unit * own)], 1)])
        right = torch.cat([product[:, lead], own.T @ (unit[:, 0] * targets[:, lead])])
        penalty = strength * torch.eye(len(whole), dtype=whole.dtype)
        solutions.append(torch.stack([torch.linalg.solve(whole + each * penalty, right) for each in PENALTIES]))
    return [*torch.stack(solutions, 1)]
