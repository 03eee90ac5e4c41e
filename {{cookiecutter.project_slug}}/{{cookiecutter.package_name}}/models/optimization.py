"""Optimizers: parameter groups for weight decay, construction from the config, learning-rate schedules."""

import math
from collections.abc import Iterable
from typing import Any

from pydantic import NonNegativeInt
from pytorch_lightning import LightningModule
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from ..engine import Above0Below1, From0Below1, build, target


def parameter_groups(model: nn.Module, without: tuple[type[nn.Module], ...] = ()) -> list[dict[str, Any]]:
    """Return two groups for an optimizer: matrices and kernels with its `weight_decay`, the rest with none.

    The rest are parameters of fewer than two dimensions (biases, gains) and those of modules of the types `without`.
    """
    excluded = {id(each) for module in model.modules() if isinstance(module, without) for each in module.parameters()}
    decayed = [each for each in model.parameters() if each.ndim >= 2 and id(each) not in excluded]
    others = [each for each in model.parameters() if each.ndim < 2 or id(each) in excluded]
    return [{"params": decayed}, {"params": others, "weight_decay": 0.0}]


def build_optimizer(model: LightningModule, parameters: Iterable[Any], monitor: str) -> Any:
    """Build the `optimizer` of the model's hparams, and its `scheduler` if any, for `configure_optimizers` to return.

    A schedule advances with each step; a ReduceLROnPlateau with each epoch, by the metric `monitor`.
    """
    optimizer = build(model.hparams["optimizer"], parameters)
    if model.hparams["scheduler"] is None:
        return optimizer
    steps = int(model.trainer.estimated_stepping_batches)
    scheduler = build(model.hparams["scheduler"], optimizer, total_steps=steps)
    interval = "epoch" if isinstance(scheduler, ReduceLROnPlateau) else "step"
    schedule = {"scheduler": scheduler, "interval": interval, "monitor": monitor}
    return {"optimizer": optimizer, "lr_scheduler": schedule}


@target
def warmup_cosine(
    optimizer: Optimizer, total_steps: int, warmup: From0Below1 = 0.1, floor: From0Below1 = 0.0
) -> LambdaLR:
    """Warm up linearly over the fraction `warmup` of `total_steps`, then decay by a half cosine.

    It ends at `floor` times the optimizer's rate. Source: Loshchilov & Hutter, "SGDR", 2017, without restarts.
    """
    warmup_steps = max(1, round(warmup * total_steps))

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

    return LambdaLR(optimizer, factor)


@target
def plateau(
    optimizer: Optimizer, total_steps: int, factor: Above0Below1 = 0.1, patience: NonNegativeInt = 5
) -> ReduceLROnPlateau:
    """Multiply the rate by `factor` when the validation loss has not fallen for more than `patience` epochs."""
    return ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
