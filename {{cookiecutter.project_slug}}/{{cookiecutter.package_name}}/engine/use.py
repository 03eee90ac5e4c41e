"""Finished runs at work: opened in a notebook, measured on data, and asked to predict a user's own files."""

import inspect
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn

from ..errors import RefusedError, refusal
from ..front_door.check import check_node
from ..front_door.gate import Place
from ..front_door.runs import choose_run, finished_runs
from ..front_door.values import check_value
from ..run_folder.checkpoints import load_checkpoint, room_for
from ..run_folder.folder import RunFolder, log, start_log, write_json
from ..run_folder.metrics import headline, split_metrics
from ..run_folder.plain import check_plain
from .build import build, build_callbacks, datamodule_of, imported


class LoadedRun(NamedTuple):
    """The model in eval mode on the CPU, and the datamodule, not yet set up."""

    model: LightningModule
    datamodule: LightningDataModule


def load_run(folder: str | Path, checkpoint: str = "best") -> LoadedRun:
    """Model and datamodule of a run, as in `model, datamodule = load_run("runs/first")`.

    `checkpoint` is `best`, `last` or a path; of a set of folds it is the ensemble. Raises RefusedError where folder or
    checkpoint is not there.
    """
    runs = finished_runs(RunFolder(Path(folder)))
    cfg = runs[0][1]
    model = load_models(cfg, [run.checkpoint(checkpoint) for run, _ in runs])
    return LoadedRun(model, datamodule_of(cfg))


def load_models(cfg: DictConfig, checkpoints: list[Path]) -> Any:
    """The model of the config; with several checkpoints, of folds, their ensemble: the mean of what `forward` gives.

    Raises RefusedError as `load_checkpoint` does.
    """
    first, *others = [load_model(cfg, checkpoint) for checkpoint in checkpoints]
    if others:
        forwards = [model.forward for model in (first, *others)]
        first.others = nn.ModuleList(others)  # so that they go to the device with it
        first.forward = lambda *inputs, **named: torch.stack([each(*inputs, **named) for each in forwards]).mean(0)
    return first


def load_model(cfg: DictConfig, checkpoint: Path) -> Any:
    """The model of the config with the weights of the checkpoint. Raises RefusedError as `load_checkpoint` does.

    Lightning's `load_from_checkpoint` would read the file a second time, and call what it finds as `hparams_type`.
    """
    model_class = imported(cfg.model._target_)
    if not (isinstance(model_class, type) and issubclass(model_class, LightningModule)):
        raise refusal("model._target_", cfg.model._target_, "is no LightningModule")
    content = load_checkpoint(checkpoint)
    arguments = _arguments(model_class, content)
    _check_ranges(cfg.model._target_, arguments, checkpoint)
    try:
        with room_for(content["state_dict"], checkpoint):
            model = model_class(**arguments)
            model.configure_model()
        model.on_load_checkpoint(content)
        model.load_state_dict(content["state_dict"], strict=model.strict_loading)
    except RefusedError:
        raise
    except Exception as error:  # there is no end to what a model can make of another's numbers
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RefusedError(f"{checkpoint} is no checkpoint of {model_class.__name__}: {reason}") from error
    return model.eval()


def _check_ranges(target: str, arguments: dict[str, Any], checkpoint: Path) -> None:
    """Raises RefusedError where a hyper-parameter is not of the type that the model takes, or out of its range."""
    try:
        for name in (name for name, value in arguments.items() if isinstance(value, dict) and "_target_" in value):
            check_plain(arguments[name], f"hyper_parameters.{name}")
        for key, value, parameter in check_node("hyper_parameters", {"_target_": target, **arguments}, None, Place.ANY):
            check_value(key, value, parameter.type(), reads_data=False)
    except RefusedError as error:
        raise RefusedError(f"{checkpoint.as_posix()}: {error}") from error


def _arguments(model_class: type, content: dict[str, Any]) -> dict[str, Any]:
    """The hyper-parameters of a checkpoint that the model takes: as names, or all in the argument that they came in."""
    saved = {str(name): value for name, value in content.get("hyper_parameters", {}).items()}
    parameters = inspect.signature(model_class).parameters.values()
    names = [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    if (whole := content.get("hparams_name")) in names:
        return {whole: saved}
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    return {name: value for name, value in saved.items() if takes_any or name in names}


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

    Raises RefusedError as choose_run does.
    """
    folder, saved, checkpoints, changes = choose_run(cfg)
    model = load_models(saved, checkpoints)
    datamodule = datamodule_of(saved)
    datamodule.prepare_data()
    # A ModelCheckpoint has nothing to save here.
    callbacks = [callback for callback in build_callbacks(saved) if not hasattr(callback, "best_model_path")]
    trainer = build(
        saved.trainer,
        place=Place.OWN,
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
