"""The rendered repository passes its own tests, and each logger really logs."""

import json
import sys
from pathlib import Path

import pytest
from conftest import CHOICES, Bake, run

DEBUG = ("trainer=debug", "trainer.enable_progress_bar=false", "name=logged")


@pytest.mark.parametrize("logger", CHOICES["logger"])
def test_its_own_tests_pass(logger: str, bake: Bake) -> None:
    project = bake(logger=logger)
    done = run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", cwd=project)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    assert " passed" in done.stdout


def trained(bake: Bake, logger: str, *words: str) -> tuple[Path, dict[str, float]]:
    """The run folder of a short training with a logger, and the test metrics that metrics.json holds."""
    project = bake(logger=logger)
    done = run(sys.executable, "train.py", *DEBUG, *words, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = project / "runs" / "logged"
    return folder, json.loads((folder / "metrics.json").read_text())["test"]


def test_tensorboard_reads_what_was_logged(bake: Bake) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, test = trained(bake, "tensorboard")
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert events.Scalars("test/accuracy")[-1].value == pytest.approx(test["accuracy"])
    assert [event.step for event in events.Scalars("val/loss")] == [2]
    assert set(events.Tags()["images"]) >= {"test/confusion_matrix", "test/worst_mistakes"}


def test_wandb_reads_what_was_logged_offline(bake: Bake) -> None:
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    folder, test = trained(bake, "wandb", "logger.wandb.offline=true")
    store = DataStore()
    store.open_for_scan(str(next(folder.glob("wandb/offline-run-*/*.wandb"))))
    logged: dict[str, float] = {}
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            logged["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    assert logged["test/accuracy"] == pytest.approx(test["accuracy"])
    assert "test/confusion_matrix" in logged


def test_mlflow_reads_what_was_logged(bake: Bake) -> None:
    from mlflow.tracking import MlflowClient

    folder, test = trained(bake, "mlflow")
    client = MlflowClient(tracking_uri=f"sqlite:///{folder.parents[1] / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("my-project")
    assert experiment is not None
    logged = client.search_runs([experiment.experiment_id])[0]
    assert logged.data.metrics["test/accuracy"] == pytest.approx(test["accuracy"])
    assert logged.data.params["optimizer/lr"] == "0.003"
    assert {file.path for file in client.list_artifacts(logged.info.run_id, "pictures")} >= {
        "pictures/confusion_matrix.png"
    }
