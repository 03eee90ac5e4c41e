"""Predict: a finished run on files of the user's own."""

from pathlib import Path

from omegaconf import DictConfig

from ..run_folder.log import log, start_log
from .evaluate import open_finished_run


def predict(cfg: DictConfig) -> Path:
    """Write a prediction for each input that can be read, name each that can't; returns the file written.

    The datamodule reads the inputs and writes the predictions. Raises RefusedError where nothing can be read.
    """
    start_log()
    run = open_finished_run(cfg, work_folder="predictions")
    unreadable = run.datamodule.read_inputs(str(cfg.input), run.model.hparams)
    for problem in unreadable:
        log.info(f"Left out: {problem}")
    outputs = run.trainer.predict(run.model, run.datamodule)
    path = Path(cfg.output or run.folder.predictions / run.datamodule.predictions_name(str(cfg.input)))
    path.parent.mkdir(parents=True, exist_ok=True)
    count = run.datamodule.write_predictions(outputs, path, run.model.hparams)
    left_out = f", {len(unreadable)} left out" if unreadable else ""
    log.info(f"{count} predictions in {path.as_posix()}{left_out}")
    return path
