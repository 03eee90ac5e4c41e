"""What a resumed run sends to a tracker that already has a part of it. Real trackers: tests/test_trackers.py."""

from types import SimpleNamespace
from typing import Any

from my_project.engine.training.trackers import _held_by_wandb, take_rows


class Tracker:
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[tuple[int | None, dict[str, Any]]] = []

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self.rows.append((step, metrics))


def test_w_and_b_server_is_sent_what_its_summary_lacks() -> None:
    """The server has step 0, and of step 9 the validation but not the training, which is logged after it."""
    run = SimpleNamespace(resumed=True, summary={"trainer/global_step": 9, "val/loss": 2.0, "train/loss": 5.0})
    tracker: Any = Tracker()
    saved = [{"epoch": 0, "step": 0, "val/loss": 3.0, "train/loss": 5.0}]
    take_rows(tracker, saved, _held_by_wandb(SimpleNamespace(experiment=run)))  # type: ignore[arg-type]
    tracker.log_metrics({"val/loss": 2.0}, 9)
    tracker.log_metrics({"train/loss": 4.0}, 9)
    tracker.log_metrics({"val/loss": 2.0}, 19)
    tracker.log_metrics({"an image": "…"})
    assert tracker.rows == [(9, {"train/loss": 4.0}), (19, {"val/loss": 2.0}), (None, {"an image": "…"})]


def test_tracker_that_was_added_later_gets_all_rows() -> None:
    tracker: Any = Tracker()
    saved = [{"epoch": 0, "step": 9, "val/loss": 3.0}, {"epoch": 1, "step": 19, "lr": 0.1}]
    take_rows(tracker, saved, lambda key, step, value: False)
    tracker.log_metrics({"lr": 0.1, "val/loss": 2.0}, 19)  # the save was in the middle of step 19
    assert tracker.rows == [
        (9, {"epoch": 0, "val/loss": 3.0}), (19, {"epoch": 1, "lr": 0.1}), (19, {"val/loss": 2.0}),
    ]  # fmt: skip
