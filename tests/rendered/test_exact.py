"""Resuming is exact for what `self.log` and metrics accumulate in an epoch, for any reduction and rare calls."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torchmetrics import MeanMetric

from my_project.engine.errors import RefusedError
from my_project.engine.order import BatchOrder, batches
from my_project.engine.runs.folder import RunFolder
from my_project.engine.training.metrics_log import MetricsLog
from my_project.engine.training.resume import ExactResume, reseed

STEPS = 8


class Logs(LightningModule):
    """Log in every possible way; raise at the step `last`."""

    def __init__(self, last: int | None) -> None:
        super().__init__()
        self.last = last
        self.layer, self.dropout, self.metric = nn.Linear(1, 1), nn.Dropout(0.5), MeanMetric()

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        if self.global_step == self.last:
            raise InterruptedError
        loss = self.dropout(self.layer(batch[0])).square().mean()
        self.log("mean", loss, on_epoch=True, on_step=True)
        for reduction in ("sum", "max", "min"):
            self.log(reduction, loss, on_step=False, on_epoch=True, reduce_fx=reduction)
        self.log("largest", loss, on_step=False, on_epoch=True, reduce_fx=max)
        if batch_idx == 1:
            self.log("rare", loss, on_step=False, on_epoch=True)
        self.metric.update(loss)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("metric", self.metric)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


def fit(folder: Path, last: int | None = None) -> list[dict[str, Any]]:
    """Train to the end or to the step `last`, from last.ckpt if there is one; returns the rows logged."""
    run = RunFolder(folder)
    log = MetricsLog(folder / "metrics.csv")
    resume = run.last if run.last.exists() else None
    if resume:
        log.rewind(torch.load(resume, weights_only=True)["callbacks"]["ExactResume"]["rows"])
    exact = ExactResume(run, seed=1, minutes=0, metrics_log=log)
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", callbacks=[exact], logger=log, enable_checkpointing=False, log_every_n_steps=3,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    reseed(1)
    data = torch.linspace(0, 1, STEPS * 4)[:, None]
    trainer.fit(Logs(last), batches((data,), BatchOrder(len(data), 4, seed=1, trainer=trainer)), ckpt_path=resume)
    return log.rows


@pytest.mark.parametrize("last", [1, 2, 3, 7, 8, 9, 10, 15])
def test_stopped_before_any_step_it_logs_the_same(last: int, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    with pytest.raises(InterruptedError):
        fit(tmp_path / "stopped", last)
    assert fit(tmp_path / "stopped") == fit(tmp_path / "whole")


SPOILT: dict[str, Callable[[dict[str, Any]], None]] = {
    "no dict of the epoch": lambda saved: saved.update(epoch=[3]),
    "a metric that is not there": lambda saved: saved.update(epoch=[{"nope": {}}]),
    "a count that is none": lambda saved: saved["epoch"][0]["metric"].update(_update_count={}),
    "no list": lambda saved: saved.update(sums=7),
    "a sum that is text": lambda saved: saved["sums"][0]["training_step.sum"].update(state={"value": "1"}),
    "a sum of another shape": lambda saved: saved["sums"][0]["training_step.sum"]["state"].update(value=torch.zeros(3)),
    "a reduction of another name": lambda saved: saved["sums"][0]["training_step.rare"]["how"].update(
        reduce_fx="os.system"
    ),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_an_invalid_state_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        fit(tmp_path, 3)
    path = RunFolder(tmp_path).last
    content = torch.load(path, weights_only=True)
    SPOILT[kind](content["callbacks"]["ExactResume"])
    torch.save(content, path)
    with pytest.raises(RefusedError, match="holds no state to resume from"):
        fit(tmp_path)


def test_stopped_twice_before_the_same_step_it_logs_the_same(tmp_path: Path) -> None:
    """The second checkpoint is saved before the step that would have logged again."""
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    for _ in range(2):
        with pytest.raises(InterruptedError):
            fit(tmp_path / "stopped", 6)
    assert fit(tmp_path / "stopped") == fit(tmp_path / "whole")


@pytest.mark.parametrize("sizes", [(5, 90, 5), (1, 1), (7, 2, 0, 4), (100,)])
def test_a_balanced_order_draws_equally_many_of_each_stratum_and_of_each_sample(sizes: tuple[int, ...]) -> None:
    strata = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    strata = strata[torch.randperm(len(strata), generator=torch.Generator().manual_seed(0))]
    orders = [BatchOrder(len(strata), 4, seed=1, strata=strata).of_epoch(epoch) for epoch in (0, 0, 1)]
    first, again, second = (torch.cat([*order]) for order in orders)
    assert torch.equal(first, again)
    assert len(strata) < 10 or not torch.equal(first, second)
    for order in (first, second):
        assert len(order) == len(strata)
        drawn = strata[order].bincount(minlength=len(sizes))[torch.tensor(sizes) > 0]
        assert drawn.max() - drawn.min() <= 1
        for stratum in strata.unique():
            times = order.bincount(minlength=len(strata))[strata == stratum]
            assert times.max() - times.min() <= 1
    ranks = [BatchOrder(len(strata), 4, seed=1, strata=strata, rank=rank, world=2).of_epoch(0) for rank in (0, 1)]
    halves = [torch.cat([*order]) for order in ranks]
    assert torch.equal(torch.stack(halves, 1).flatten(), first[: len(first) // 2 * 2])
