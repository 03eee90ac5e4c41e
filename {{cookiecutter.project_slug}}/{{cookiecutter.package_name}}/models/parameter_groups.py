"""Which parameters an optimizer lets decay: weights, but neither biases nor the gains of norms."""

from typing import Any

from torch import nn


def parameter_groups(model: nn.Module, without: tuple[type[nn.Module], ...] = ()) -> list[dict[str, Any]]:
    """Two groups for an optimizer: matrices and kernels with its `weight_decay`, the rest with none.

    The rest are parameters of fewer than two dimensions (biases, gains) and those of modules of the types `without`.
    """
    kept = {id(each) for module in model.modules() if isinstance(module, without) for each in module.parameters()}
    decayed = [each for each in model.parameters() if each.ndim >= 2 and id(each) not in kept]
    others = [each for each in model.parameters() if each.ndim < 2 or id(each) in kept]
    return [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
