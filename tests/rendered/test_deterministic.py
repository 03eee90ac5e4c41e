"""`trainer.deterministic=true` on a GPU: no step of a model calls an operation without a deterministic kernel."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from conftest import Command, fitting, options
from starter import SMALL
from test_resume import QUICK
from torch.utils._python_dispatch import TorchDispatchMode

# Operations that raise on CUDA (see torch.use_deterministic_algorithms); `cumsum` and `bincount` are below.
NONE_THERE = {
    *("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward"),
    *("avg_pool3d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward"),
    *("max_unpool2d", "max_unpool3d", "upsample_linear1d_backward", "upsample_bilinear2d_backward"),
    *("upsample_bicubic2d_backward", "upsample_trilinear3d_backward", "_upsample_bilinear2d_aa_backward"),
    *("_upsample_bicubic2d_aa_backward", "reflection_pad1d_backward", "reflection_pad2d_backward"),
    *("reflection_pad3d_backward", "nll_loss2d_forward", "_ctc_loss_backward", "put", "put_", "histc"),
    *("grid_sampler_2d_backward", "grid_sampler_3d_backward", "median", "nanmedian"),
}


class Called(TorchDispatchMode):
    """Record the calls of such operations, and count all calls."""

    def __init__(self) -> None:
        super().__init__()
        self.raising: set[str] = set()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name.endswith("median") and len(args) == 1:
            name = "median of all"  # without indices
        self.count += 1
        weights = args[1] if len(args) > 1 else (kwargs or {}).get("weights")
        weighted = name == "bincount" and weights is not None
        summed = name == "cumsum" and args[0].is_floating_point()
        if name in NONE_THERE or weighted or summed:
            self.raising.add(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Undo the switch, which the Trainer sets for the whole process."""
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("model", options("model"))
def test_training_and_test_have_a_deterministic_kernel_on_a_gpu(model: str, command: Command) -> None:
    with Called() as called:
        words = (f"model={model}", f"name={model}", "trainer.deterministic=true", *QUICK, *fitting(SMALL, model))
        status, said = command("train.py", *words)
    assert status == 0, said
    assert called.count > 1000
    assert called.raising == set()


def test_what_has_none_is_noted() -> None:
    image = torch.rand(1, 1, 4, 4, requires_grad=True)
    with Called() as called:
        torch.nn.functional.adaptive_avg_pool2d(image, 2).sum().backward()
        torch.bincount(torch.arange(3), weights=torch.rand(3))
        torch.rand(3).cumsum(0)
        torch.bincount(torch.arange(3))
    assert called.raising == {"_adaptive_avg_pool2d_backward", "bincount", "cumsum"}
