"""The guard against NaN, on small models: what it stops, at which step, and which batch it keeps."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from my_project.callbacks.finite_guard import FiniteGuard
from my_project.engine.errors import FailedError
from my_project.engine.order import BatchOrder, batches

BAD_STEP = 23


class Line(LightningModule):
    """A model with a used and an unused weight; something goes wrong at BAD_STEP."""

    def __init__(self, wrong: str) -> None:
        super().__init__()
        self.wrong = wrong
        self.used, self.unused = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        loss = (self.used * batch[0]).mean() + 0 * self.unused.detach().nan_to_num().sum()
        if self.global_step != BAD_STEP or self.wrong == "nothing":
            return loss
        if self.wrong == "the loss":
            return loss * float("inf")
        if self.wrong == "the gradient":
            return loss + (self.used * 0).sqrt().sum() * 0  # finite, but its gradient is not
        with torch.no_grad():
            self.unused.fill_(float("nan"))
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Later(FiniteGuard):
    """The guard as on a device that would have to be waited for."""

    def is_synchronous(self, pl_module: LightningModule) -> bool:
        return False


def fit(wrong: str, guard: FiniteGuard, folder: Path) -> Trainer:
    order = BatchOrder(400, 4, seed=0)
    trainer = Trainer(
        max_steps=90, accelerator="cpu", callbacks=[guard], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(Line(wrong), batches((torch.rand(400),), order))
    return trainer


@pytest.mark.parametrize("guard", [FiniteGuard, Later])
def test_where_nothing_goes_wrong_it_lets_it_run(guard: type[FiniteGuard], tmp_path: Path) -> None:
    assert fit("nothing", guard(), tmp_path).global_step == 90
    assert not (tmp_path / "nonfinite").exists()


@pytest.mark.parametrize(
    ("wrong", "guard", "named", "seen_by"),
    [
        ("the loss", FiniteGuard, "the loss is inf", BAD_STEP),
        ("the gradient", FiniteGuard, "after it used is no longer finite", BAD_STEP + 1),
        ("a weight", FiniteGuard, "after it unused is no longer finite", BAD_STEP + 50),
        ("the loss", Later, "the loss is inf", BAD_STEP + 50),
    ],
)
def test_it_stops_in_time_and_names_step_and_batch(
    wrong: str, guard: type[FiniteGuard], named: str, seen_by: int, tmp_path: Path
) -> None:
    watching = guard()
    with pytest.raises(FailedError, match=named) as stopped:
        fit(wrong, watching, tmp_path)
    assert watching.steps <= seen_by + 1
    if wrong != "a weight":  # an unused one, so no loss shows when
        assert f"batch {BAD_STEP})" in str(stopped.value)
        (kept,) = (tmp_path / "nonfinite").iterdir()
        content = torch.load(kept, weights_only=True)
        expected = BatchOrder(400, 4, seed=0).of_epoch(0)[BAD_STEP].tolist()
        assert content["ids"] == expected
        assert ", ".join(map(str, expected)) in str(stopped.value)
        assert content["learning_rates"] == [0.01]
        assert content["step"] == BAD_STEP
