"""Evaluate: measure a finished run on its test data, or on other data."""

from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig
from pytorch_lightning import LightningModule, Trainer

from .build import build
from .console import log, start_log
from .errors import RefusedError
from .load import apply_overrides, load_model
from .run_folder import RunFolder, open_run, write_json
from .train import build_all, headline, split_metrics

# What the command line may change of a finished run; a model or a seed belongs to its training.
CHANGEABLE = ("datamodule", "trainer", "callbacks")
OWN_KEYS = ("run", "checkpoint", "input", "output")


class FinishedRun(NamedTuple):
    """What evaluation and prediction work with; `changes` are the overrides that concern data and Trainer."""

    folder: RunFolder
    model: LightningModule
    datamodule: Any
    trainer: Trainer
    changes: list[str]


def evaluate(cfg: DictConfig, overrides: list[str]) -> dict[str, float]:
    """Test a checkpoint and write `evaluation_<checkpoint>.json` beside the training's metrics; returns the metrics.

    Raises RefusedError where the run, the checkpoint or the data can't be used.
    """
    start_log()
    stem = f"evaluation_{Path(cfg.checkpoint).stem}"
    run = open_finished_run(cfg, overrides, work_folder=stem)
    run.datamodule.setup("test")
    _check_facts(run.model, run.datamodule.facts)
    metrics = split_metrics(dict(run.trainer.test(run.model, run.datamodule, verbose=False)[0]), "test")
    path = run.folder.path / f"{stem}.json"
    write_json(path, {"checkpoint": str(cfg.checkpoint), "overrides": run.changes, "test": metrics})
    log.info(headline(metrics, "test"))
    log.info(f"Results  {path.as_posix()}, pictures in {path.with_suffix('').as_posix()}/pictures/")
    return metrics


def open_finished_run(cfg: DictConfig, overrides: list[str], work_folder: str) -> FinishedRun:
    """The run `cfg.run` with a Trainer of one device, which writes into `work_folder` within the run.

    Raises RefusedError where the run or the checkpoint is not there, or an override concerns the training.
    """
    folder, saved = open_run(cfg.run)
    named = {item: item.lstrip("+~").split("=")[0] for item in overrides}
    changes = [item for item, key in named.items() if key not in OWN_KEYS]
    for item in changes:
        if not named[item].startswith(CHANGEABLE):
            raise RefusedError(f"{item}: of a finished run only {', '.join(CHANGEABLE)} can be changed")
    saved.trainer.update({"devices": 1, "num_nodes": 1, "strategy": "auto"})
    saved = apply_overrides(saved, cfg, changes)
    model = load_model(saved, folder.checkpoint(cfg.checkpoint))
    datamodule = build(saved.datamodule)
    datamodule.prepare_data()
    # A ModelCheckpoint has nothing to save here.
    callbacks = [callback for callback in build_all(saved.callbacks) if not hasattr(callback, "best_model_path")]
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
    """Raises RefusedError where the data is not of the kind that the model was trained on."""
    for key, given in facts.items():
        if key in model.hparams and model.hparams[key] != given:
            raise RefusedError(f"datamodule: its {key} is {given}; the model was trained with {model.hparams[key]}")
