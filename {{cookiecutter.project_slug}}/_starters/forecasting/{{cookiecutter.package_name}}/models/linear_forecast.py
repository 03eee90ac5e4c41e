"""A linear forecast beside the network: ridge regression on the history, fitted in closed form."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ..engine import RefusedError

PENALTIES = (1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0)  # of the regression, in units of the features' mean square
MAX_WEIGHTS = 1024  # per lead, of steps of the history
MAX_COEFFICIENTS = 2**26  # of the normal equations: 512 MB


class Problem(NamedTuple):
    """A block of a regression of `targets` (N, H), in what `unit` (N, 1) of the loss.

    All leads have the `features` (N, D), and each has `changes` (N, H, E) of its own, from covariates.
    """

    features: Tensor
    changes: Tensor
    targets: Tensor
    unit: Tensor


def check_size(features: int, changes: int, horizon: int) -> None:
    """Raises RefusedError if covariates make the normal equations too large to be solved."""
    size = features**2 + horizon * changes * (features + changes)
    if size > MAX_COEFFICIENTS:
        weights = f"{features + changes:,} weights at each of {horizon} steps ahead"
        why = f"covariates give the linear forecast {weights}: {size:,} coefficients, of at most {MAX_COEFFICIENTS:,}"
        raise RefusedError(f"datamodule: {why}; expected fewer covariates or categories, or a shorter horizon")


def fit_linear(train: Iterable[Problem], val: Callable[[], Iterable[Problem]], levels: Tensor) -> tuple[Tensor, Tensor]:
    """Fit the regression to blocks: weights (H, D + E), and the quantiles (H, Q) of the errors less their median.

    The penalty is the one with the least absolute error of validation; all weights are zero if none helps.
    """
    fitted = ridge(train)
    candidates = [torch.zeros_like(fitted[0]), *fitted]
    losses = [[(errors(block, each).abs() * block.unit).sum() for each in candidates] for block in val()]
    best = candidates[int(torch.tensor(losses, dtype=torch.float64).sum(0).argmin())]
    remain = torch.cat([errors(block, best) for block in val()])
    spread = remain.quantile(levels.double(), 0).T
    return best.float(), (spread - remain.quantile(0.5, 0)[:, None]).float()


def errors(block: Problem, weights: Tensor) -> Tensor:
    """Return the errors (N, H) that `weights` (H, D + E) leave."""
    shared, own = weights.split([block.features.shape[1], block.changes.shape[2]], 1)
    return block.targets - block.features @ shared.T - torch.einsum("nhe,he->nh", block.changes, own)


def ridge(train: Iterable[Problem]) -> list[Tensor]:
    """Solve the normal equations, summed over blocks, for each penalty: weights (H, D + E) each."""
    sums: list[Tensor] = []
    for block in train:
        parts = equations(block)
        sums = [one.add_(other) for one, other in zip(sums, parts, strict=True)] if sums else parts
    square, product, cross, own, right = sums
    strength = square.diagonal().mean()
    if not cross.shape[2]:  # the same equations for all leads
        penalty = strength * torch.eye(len(square), dtype=square.dtype)
        return [torch.linalg.solve(square + each * penalty, product).T for each in PENALTIES]
    solutions = []
    for lead in range(len(cross)):
        whole = torch.cat([torch.cat([square, cross[lead]], 1), torch.cat([cross[lead].T, own[lead]], 1)])
        penalty = strength * torch.eye(len(whole), dtype=whole.dtype)
        given = torch.cat([product[:, lead], right[lead]])
        solutions.append(torch.stack([torch.linalg.solve(whole + each * penalty, given) for each in PENALTIES]))
    return [*torch.stack(solutions, 1)]


def equations(block: Problem) -> list[Tensor]:
    """Return the sums of the normal equations: (D, D) and (D, H) of all leads; (H, D, E), (H, E, E), (H, E) of each."""
    features, changes, targets, unit = block
    weighted, by_lead = unit * features, changes.transpose(0, 1)
    return [
        features.T @ weighted,
        weighted.T @ targets,
        weighted.T @ by_lead,
        by_lead.transpose(1, 2) @ (unit * by_lead),
        torch.einsum("hne,nh->he", by_lead, unit * targets),
    ]
