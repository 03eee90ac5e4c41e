"""Muon for the matrices of a network and AdamW for the rest, in one optimizer: a lower loss in as many steps.

torch.optim.Muon takes only matrices, and computes in bfloat16, which many CPUs emulate, twenty times slower.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW


class MuonAdamW(AdamW):
    """AdamW that takes Muon's step for parameter groups that hold only matrices; the arguments are AdamW's.

    Muon's step is the momentum of the gradient with all singular values set to one, scaled to the size of AdamW's
    steps, so that one `lr` fits both. Sources: Jordan et al., "Muon", 2024; Liu et al., "Muon is Scalable for LLM
    Training", 2025, section 2.2. AdamW.step goes over all of `param_groups`, so `step` hides the groups of matrices
    from it; schedules and checkpoints see all groups.
    """

    momentum = 0.95

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        for group in filter(only_matrices, groups):
            self._muon_step(group)
        self.param_groups = [group for group in groups if not only_matrices(group)]
        try:
            super().step()
        finally:
            self.param_groups = groups
        return loss

    def _muon_step(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros(())  # AdamW expects it when it loads the state
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - self.momentum)
            update = orthogonal(parameter.grad.lerp(state["momentum"], self.momentum))
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update, alpha=-0.2 * group["lr"] * max(parameter.shape) ** 0.5)


def only_matrices(group: dict[str, Any]) -> bool:
    """Return True if all parameters of a group are matrices."""
    return all(parameter.ndim == 2 for parameter in group["params"])


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """Orthogonalise a matrix: keep its singular vectors, with singular values between about 0.7 and 1.2.

    Newton-Schulz iteration with Jordan's polynomial of degree five.
    """
    x = matrix.bfloat16() if matrix.is_cuda else matrix
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)
