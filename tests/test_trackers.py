"""A training that is killed and resumed is one run in its tracker: each step once, with the values of metrics.csv."""

import csv
import json
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CHOICES, Bake, run
from test_rendered import wandb_records

Series = dict[str, list[tuple[int, float]]]  # steps and values of each metric, in the order of a tracker
WORDS = (
    *("name=killed", "callbacks=[default]", "datamodule.batch_size=64", "trainer.enable_progress_bar=false"),
    *("trainer.max_epochs=12", "trainer.limit_train_batches=12", "trainer.log_every_n_steps=5", "save_minutes=0.03"),
    "+callbacks.lr._target_=pytorch_lightning.callbacks.LearningRateMonitor",  # logs within an epoch as well
)
OFFLINE = {"wandb": ("logger.wandb.offline=true",)}


def in_tensorboard(project: Path) -> list[Series]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(project / "runs" / "killed" / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return [{tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}]


def in_mlflow(project: Path) -> list[Series]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert [each.info.status for each in runs] == ["FINISHED"] * len(runs)
    return [
        {
            key: [(each.step, each.value) for each in client.get_metric_history(one.info.run_id, key)]
            for key in one.data.metrics
        }
        for one in runs
    ]


def in_wandb(project: Path) -> list[Series]:
    """Read the files of all offline runs, in the order in which `wandb sync` sends them."""
    runs: dict[str, Series] = defaultdict(lambda: defaultdict(list))
    numbers: dict[str, list[int]] = defaultdict(list)
    for path in sorted(project.glob("runs/killed/wandb/offline-run-*/*.wandb")):
        for record in wandb_records(path):
            row = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            if "trainer/global_step" not in row:
                continue
            numbers[path.stem].append(row["_step"])
            for key, value in row.items():
                runs[path.stem][key].append((row["trainer/global_step"], value))
    assert all(each == sorted({*each}) for each in numbers.values()), "W&B drops a row whose number it has had"
    return [*runs.values()]


READERS: dict[str, Callable[[Path], list[Series]]] = {
    "tensorboard": in_tensorboard, "wandb": in_wandb, "mlflow": in_mlflow,
}  # fmt: skip


def in_metrics_csv(project: Path) -> Series:
    series: Series = defaultdict(list)
    with (project / "runs" / "killed" / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for key in row.keys() - {"epoch", "step"}:
                if row[key]:
                    series[key].append((int(row["step"]), float(row[key])))
    return series


def rows_of(project: Path) -> int:
    path = project / "runs" / "killed" / "metrics.csv"
    return path.read_text().count("\n") if path.exists() else 0


@pytest.mark.long
@pytest.mark.parametrize("tracker", CHOICES["logger"][1:])
def test_killed_run_is_one_run_in_its_tracker(tracker: str, bake: Bake) -> None:
    project = bake(logger=tracker)
    command = [sys.executable, "train.py", *WORDS, *OFFLINE.get(tracker, ())]
    # W&B writes when a process ends by itself, so that a stopped one leaves what its resumption must not send again.
    for stop in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL)[tracker != "wandb" :]:
        target = rows_of(project) + random.randint(6, 12)  # of some 40
        process = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while rows_of(project) < target:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(stop)
        assert process.wait() == (-9 if stop == signal.SIGKILL else 143)
    done = run(*command, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "runs" / "killed" / "train.log").read_text().count("Resuming from") >= 2
    expected = in_metrics_csv(project)
    assert len(expected["train/loss"]) == 12
    [found] = READERS[tracker](project)
    for key, points in expected.items():
        assert found[key] == [(step, pytest.approx(value, rel=1e-6)) for step, value in points], key
    assert {*found} >= {*expected}


@pytest.mark.long
def test_each_fold_is_a_run_of_its_own_in_wandb(bake: Bake) -> None:
    """W&B has one run a process, and the folds are trained in one."""
    project = bake(logger="wandb")
    words = ("trainer=debug", "trainer.enable_progress_bar=false", "name=cv", "folds=2", "callbacks=[default]")
    done = run(sys.executable, "train.py", *words, *OFFLINE["wandb"], cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    for fold in ("fold_1", "fold_2"):
        folder = project / "runs" / "cv" / fold
        [path] = folder.glob("wandb/offline-run-*/*.wandb")
        assert path.stem == f"run-{json.loads((folder / 'trackers.json').read_text())['wandb']}"
        logged = {item.key or item.nested_key[0] for each in wandb_records(path) for item in each.history.item}
        assert "test/loss" in logged
