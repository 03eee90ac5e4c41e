"""Evaluate: measure a finished run on its test data, or on other data."""

from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig
from pytorch_lightning import LightningModule, Trainer

from ..errors import RefusedError
from ..front_door.finished import choose_run
from ..run_folder.folder import RunFolder, write_json
from ..run_folder.log import log, start_log
from ..run_folder.metrics_log import headline, split_metrics
from .build import build
from .load import load_models
from .trainer import build_callbacks


class FinishedRun(NamedTuple):
    """What evaluation and prediction work with; `changes` are the overrides that concern data and Trainer."""

    folder: RunFolder
    model: LightningModule
    datamodule: Any
    trainer: Trainer
    changes: list[str]


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Test a checkpoint and write `evaluation_<checkpoint>.json` beside the training's metrics; returns the metrics.

    Raises RefusedError where the run, the checkpoint or the data can't be used.
    """
    start_log()
    stem = f"evaluation_{Path(cfg.checkpoint).stem}"
    run = open_finished_run(cfg, work_folder=stem)
    run.datamodule.setup("test")
    _check_facts(run.model, run.datamodule.facts)
    metrics = split_metrics(dict(run.trainer.test(run.model, run.datamodule, verbose=False)[0]), "test")
    path = run.folder.path / f"{stem}.json"
    write_json(path, {"checkpoint": str(cfg.checkpoint), "overrides": run.changes, "test": metrics})
    log.info(headline(metrics, "test"))
    log.info(f"Results  {path.as_posix()}, pictures in {path.with_suffix('').as_posix()}/pictures/")
    return metrics


def open_finished_run(cfg: DictConfig, work_folder: str) -> FinishedRun:
    """The run that `cfg.run` names, with a Trainer of one device, which writes into `work_folder` within the run.

    Raises RefusedError as load.choose_run does.
    """
    folder, saved, checkpoints, changes = choose_run(cfg)
    model = load_models(saved, checkpoints)
    datamodule = build(saved.datamodule)
    datamodule.prepare_data()
    # A ModelCheckpoint has nothing to save here.
    callbacks = [callback for callback in build_callbacks(saved) if not hasattr(callback, "best_model_path")]
    trainer = build(
        saved.trainer,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=str(folder.path / work_folder),
    )
    return FinishedRun(folder, model, datamodule, trainer, changes)


def _check_facts(model: LightningModule, facts: dict[str, Any]) -> None:
    """Raises RefusedError where the data is not of the kind that the model was trained on.

    What the model has learnt of its training data, `statistics`, may be another.
    """
    for key, given in facts.items():
        if key != "statistics" and key in model.hparams and model.hparams[key] != given:
            raise RefusedError(f"datamodule: its {key} is {given}; the model was trained with {model.hparams[key]}")
