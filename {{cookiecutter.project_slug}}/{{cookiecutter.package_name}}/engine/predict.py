"""Predict: a finished run on files of the user's own."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Callback

from ..run_folder.log import log, start_log
from .evaluate import open_finished_run


def predict(cfg: DictConfig) -> Path:
    """Write a prediction for each input that can be read, name each that can't; returns the file or folder written.

    The datamodule reads the inputs and writes the predictions: each batch at once where it has `write_batch`, or all
    together. Raises RefusedError where nothing can be read.
    """
    start_log()
    run = open_finished_run(cfg, work_folder="predictions")
    unreadable = run.datamodule.read_inputs(str(cfg.input), run.model.hparams)
    for problem in unreadable:
        log.info(f"Left out: {problem}")
    path = Path(cfg.output or run.folder.predictions / run.datamodule.predictions_name(str(cfg.input)))
    path.parent.mkdir(parents=True, exist_ok=True)
    trainer: Any = run.trainer
    at_once = hasattr(run.datamodule, "write_batch")
    if at_once:
        trainer.callbacks.append(BatchWriter(run.datamodule, path))
    outputs = trainer.predict(run.model, run.datamodule, return_predictions=not at_once)
    count = run.datamodule.write_predictions(outputs, path, run.model.hparams)
    left_out = f", {len(unreadable)} left out" if unreadable else ""
    log.info(f"{count} predictions in {path.as_posix()}{left_out}")
    return path


class BatchWriter(Callback):
    """Hands the predictions of each batch to the datamodule's `write_batch`, so that they need not all fit in memory.

    Lightning's BasePredictionWriter wants indices of a loader of its own.
    """

    def __init__(self, datamodule: Any, path: Path) -> None:
        self.datamodule, self.path = datamodule, path

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.datamodule.write_batch(outputs, batch_idx, self.path, pl_module.hparams)
