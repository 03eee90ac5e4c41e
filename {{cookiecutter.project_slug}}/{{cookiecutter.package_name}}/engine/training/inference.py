"""Load, evaluate and predict with finished runs."""

import inspect
import itertools
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn

from ..config.build import build, import_target
from ..config.check import check_node
from ..config.targets import Place
from ..config.values import check_value
from ..errors import RefusedError, refusal
from ..files import write_json
from ..logs import log, quiet, start_log
from ..plain import check_size, read_json
from ..runs.folder import RunFolder
from ..runs.folds import folds_of
from ..runs.loading import load_checkpoint, room_for
from ..runs.metrics import count_samples, headline, split_metrics
from ..runs.outputs import check_output
from ..runs.provenance import read_provenance
from ..runs.saved import ChosenRun, finished_runs
from ..runs.seen import read_seen, seen_as
from .trainer import build_callbacks, datamodule_of


class LoadedRun(NamedTuple):
    """A model in eval mode on the CPU, and a datamodule that is not yet set up."""

    model: LightningModule
    datamodule: LightningDataModule


def load_run(folder: str | Path, checkpoint: str = "best") -> LoadedRun:
    """Load the model and datamodule of a run: `model, datamodule = load_run("runs/first")`.

    `checkpoint` is `best`, `last` or a path. A set of folds gives the ensemble. Raises RefusedError if the folder or
    the checkpoint does not exist.
    """
    runs = finished_runs(RunFolder(Path(folder)))
    cfg = runs[0][1]
    return LoadedRun(load_models(cfg, [run.checkpoint(checkpoint) for run, _ in runs]), datamodule_of(cfg))


def load_models(cfg: DictConfig, checkpoints: list[Path]) -> Any:
    """Load the model of the config; with several checkpoints (folds) an ensemble, the mean of their `forward`.

    Raises RefusedError as `load_checkpoint` does.
    """
    first, *others = [load_model(cfg, checkpoint) for checkpoint in checkpoints]
    if others:
        forwards = [model.forward for model in (first, *others)]

        def mean_forward(*args: Any, **kwargs: Any) -> torch.Tensor:
            return torch.stack([forward(*args, **kwargs) for forward in forwards]).mean(0)

        first.others = nn.ModuleList(others)  # so that they move to the device with it
        first.forward = mean_forward
    return first


def load_model(cfg: DictConfig, checkpoint: Path) -> Any:
    """Load the model of the config with the weights of a checkpoint. Raises RefusedError as `load_checkpoint` does.

    Lightning's `load_from_checkpoint` would read the file twice, and call the class that it names as `hparams_type`.
    """
    model_class = import_target(cfg.model._target_)
    if not (isinstance(model_class, type) and issubclass(model_class, LightningModule)):
        raise refusal("model._target_", cfg.model._target_, "is not a LightningModule")
    content = load_checkpoint(checkpoint)
    arguments = _arguments(model_class, content)
    _check_ranges(cfg.model._target_, arguments, checkpoint)
    try:
        with room_for(content["state_dict"], checkpoint):
            model = model_class(**arguments)
            model.configure_model()
        model.on_load_checkpoint(content)
        model.load_state_dict(content["state_dict"], strict=model.strict_loading)
        _check_finite(model, checkpoint)
    except RefusedError:
        raise
    except Exception as error:  # a model can raise anything on untrusted values
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RefusedError(f"{checkpoint} is not a checkpoint of {model_class.__name__}: {reason}") from error
    return model.eval()


def _check_finite(model: nn.Module, checkpoint: Path) -> None:
    """Raises RefusedError if a parameter is NaN or infinite, or a buffer NaN: predictions would be too."""
    for name, weights in [*model.named_parameters(), *model.named_buffers()]:
        broken = ~weights.isfinite() if isinstance(weights, nn.Parameter) else weights.isnan()
        if broken.any():
            raise RefusedError(f"{checkpoint.as_posix()}: its {name} is not finite, so its predictions are useless")


def _check_ranges(target: str, arguments: dict[str, Any], checkpoint: Path) -> None:
    """Raises RefusedError if a hyper-parameter has the wrong type or is out of range."""
    try:
        for name in (name for name, value in arguments.items() if isinstance(value, dict) and "_target_" in value):
            check_size(arguments[name], f"hyper_parameters.{name}")
        for key, value, parameter in check_node("hyper_parameters", {"_target_": target, **arguments}, None, Place.ANY):
            check_value(key, value, parameter.type(), reads_data=False)
    except RefusedError as error:
        raise RefusedError(f"{checkpoint.as_posix()}: {error}") from error


def _arguments(model_class: type, content: dict[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters that the model takes: by name, or all in the argument that they came in."""
    saved = {str(name): value for name, value in content.get("hyper_parameters", {}).items()}
    parameters = inspect.signature(model_class).parameters.values()
    names = [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    if (whole := content.get("hparams_name")) in names:
        return {whole: saved}
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    return {name: value for name, value in saved.items() if takes_any or name in names}


class TestData(NamedTuple):
    """Data to measure on. `other`: not the run's own; `left_out`: samples dropped as trained on, None if unknown."""

    datamodule: Any
    other: bool
    left_out: int | None


def evaluate(chosen: ChosenRun) -> dict[str, float]:
    """Test a checkpoint and write `evaluation_<checkpoint>.json` beside the training's metrics; returns the metrics.

    Raises RefusedError if the run, the checkpoint or the data can't be used.
    """
    start_log()
    folder, saved = chosen.folder, chosen.cfg
    model = load_models(saved, chosen.checkpoints)
    runs = zip(chosen.checkpoints, folds_of(folder) or [folder], strict=True)
    data = read_test_data(saved, model, [run_of(path, run) for path, run in runs], chosen.other_data)
    request = {
        "checkpoint": chosen.checkpoint, "overrides": chosen.changes, "data_sha256": data.datamodule.fingerprint(),
        "left_out": data.left_out,
    }  # fmt: skip
    path = _free_path(folder, _evaluation_name(chosen.checkpoint, saved, data.other), request)
    trainer = build_tester(saved, path.with_suffix(""))
    metrics = split_metrics(dict(trainer.test(model, data.datamodule, verbose=False)[0]), "test")
    used, total = count_samples(trainer, "test")
    write_json(path, {**request, "samples": used, **({"of": total} if used < total else {}), "test": metrics})
    log.info(headline(metrics, "test", (used, total), data.datamodule))
    log.info(f"Results  {path.as_posix()}, plots in {path.with_suffix('').as_posix()}/plots/")
    return metrics


def run_of(checkpoint: Path, chosen: RunFolder) -> RunFolder:
    """Return the run whose folder a checkpoint lies in; if it lies in none, the `chosen` run, with a warning."""
    run = RunFolder(checkpoint.absolute().parents[1])
    if run.path == chosen.path.absolute():
        return chosen
    if run.provenance.is_file():
        return run
    log.warning(f"{checkpoint.as_posix()} lies in no run folder: assumed to be trained on the data of {chosen.name}")
    return chosen


def read_test_data(saved: DictConfig, model: Any, runs: list[RunFolder], other: bool) -> TestData:
    """Read the data that the config of a run names, without the samples that the model was trained on in `runs`.

    The run's own data is tested on its test split; other data is tested whole, unless it comes with a test split. If
    the command says `other`, the content decides which it is: own data may have moved, and other data may hold copies
    of it. If not, changed files stay split: another version of a library that reads them would make every sample a new
    one.
    """
    tells_seen = hasattr(import_target(saved.datamodule._target_), "take_whole")
    data, is_read = None, False
    try:
        data = _set_up(datamodule_of(saved), model)
        is_read = True
        _check_facts(model, data.facts)
    except RefusedError:  # too few samples to split, or a missing class: tested whole, they may do
        if not (tells_seen and other):
            raise
        data = None
    recorded = read_provenance(runs[0]) if runs[0].provenance.is_file() else {}
    if data and data.fingerprint() == recorded.get("data_sha256"):
        return TestData(data, False, 0)
    seen = [keys for keys in map(read_seen, runs) if keys is not None]
    if data and not other:
        log.warning("The data is not what the run was trained on: it is split again, without samples trained on")
    elif data and tells_seen and seen:
        other = not np.array_equal(np.unique(data.trained_on()), seen[0])
    if tells_seen and other:
        with quiet(is_read):  # the first reading has logged it
            data = datamodule_of(saved)
            data.take_whole()
            data = _set_up(data, model)
        _check_facts(model, data.facts)
    if not tells_seen or len(seen) < len(runs):
        why = "the datamodule" if len(seen) == len(runs) else f"{runs[0].path.as_posix()} (it has no seen.npy)"
        log.warning(f"Whether the model was trained on some of this data is not known: {why} does not say it")
        return TestData(data, other, None)
    return TestData(data, other, _leave_out(data, np.concatenate(seen)))


def _set_up(datamodule: Any, model: Any) -> Any:
    """Set up the datamodule for testing, with the hyper-parameters of the model."""
    datamodule.trained = model.hparams
    datamodule.prepare_data()
    datamodule.setup("test")
    return datamodule


def _leave_out(datamodule: Any, keys: np.ndarray) -> int:
    """Drop the test samples that were trained on; returns how many. Raises RefusedError if none is left."""
    seen, name = datamodule.is_seen(keys), datamodule.sample_name
    if seen.all():
        raise RefusedError(f"datamodule: the model was trained on all {len(seen):,} {name} of this data; none is left")
    if count := int(seen.sum()):
        datamodule.keep_in_test(~seen)
        relation = seen_as(datamodule)
        log.info(f"Left out: {count:,} of {len(seen):,} {name}, which {relation} samples that the model was trained on")
    return count


def _evaluation_name(checkpoint: str, saved: DictConfig, other: bool) -> str:
    """Return the stem of an evaluation's files: the checkpoint and, if it is not the run's own, the data."""
    parts = [part for part in Path(checkpoint).with_suffix("").parts if part not in ("runs", "checkpoints", "..")]
    name = f"evaluation_{'_'.join(parts[-2:])}"
    if other:
        source = saved.datamodule.get("root")
        name += f"_on_{Path(str(source)).resolve().stem if source else saved.datamodule._target_.split('.')[-2]}"
    return re.sub(r"[^\w.-]", "_", name)


def _free_path(folder: RunFolder, stem: str, request: dict[str, Any]) -> Path:
    """Return a file for an evaluation: a new one, or that of an earlier evaluation of exactly the same."""
    names = itertools.chain([stem], (f"{stem}_{number}" for number in itertools.count(2)))
    paths = (folder.path / f"{name}.json" for name in names)
    return next(path for path in paths if not path.exists() or _is_of(request, path))


def _is_of(request: dict[str, Any], path: Path) -> bool:
    try:
        content = read_json(path)
    except RefusedError:  # not the file of an evaluation
        return False
    return isinstance(content, dict) and {**content, **request} == content


def build_tester(saved: DictConfig, work_folder: Path) -> Trainer:
    """Build a Trainer for the config of a finished run, which writes into `work_folder`."""
    # A ModelCheckpoint has nothing to save here.
    callbacks = [callback for callback in build_callbacks(saved) if not hasattr(callback, "best_model_path")]
    return build(
        saved.trainer,
        place=Place.OWN,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=str(work_folder),
    )


def _check_facts(model: LightningModule, facts: dict[str, Any]) -> None:
    """Raises RefusedError if the data is not of the kind that the model was trained on.

    `statistics`, which the model learnt from its training data, may differ.
    """
    names_first = sorted(facts.items(), key=lambda fact: fact[0] != "class_names")  # more telling than their number
    for key, value in names_first:
        if key != "statistics" and key in model.hparams and model.hparams[key] != value:
            raise RefusedError(f"datamodule: its {key} is {value}; the model was trained with {model.hparams[key]}")


def predict(chosen: ChosenRun) -> Path:
    """Predict for each input that can be read, and log each that can't; returns the file or folder written.

    The datamodule reads the inputs and writes the predictions: after each batch if it has `write_batch`, or all at the
    end. Raises RefusedError if nothing can be read.
    """
    start_log()
    folder, saved, source = chosen.folder, chosen.cfg, chosen.input
    model, datamodule = load_models(saved, chosen.checkpoints), datamodule_of(saved)
    datamodule.prepare_data()
    unreadable = datamodule.read_inputs(source, model.hparams)
    for problem in unreadable:
        log.info(f"Left out: {problem}")
    path = chosen.output or (folder.predictions / datamodule.predictions_name(source))
    for file in datamodule.written(path) if hasattr(datamodule, "written") else [path]:
        check_output(file, source, saved, one_of_many=getattr(datamodule, "output_is_folder", False))
    path.parent.mkdir(parents=True, exist_ok=True)
    trainer: Any = build_tester(saved, folder.predictions)
    at_once = hasattr(datamodule, "write_batch")
    if at_once:
        trainer.callbacks.append(BatchWriter(datamodule, path))
    outputs = trainer.predict(model, datamodule, return_predictions=not at_once)
    count = datamodule.write_predictions(outputs, path, model.hparams)
    left_out = f", {len(unreadable)} left out" if unreadable else ""
    log.info(f"{count} predictions in {path.as_posix()}{left_out}")
    return path


class BatchWriter(Callback):
    """Pass the predictions of each batch to the datamodule's `write_batch`, so that they need not all fit in memory.

    Lightning's BasePredictionWriter takes batch indices from a loader of Lightning's own.
    """

    def __init__(self, datamodule: Any, path: Path) -> None:
        self.datamodule, self.path = datamodule, path

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.datamodule.write_batch(outputs, batch_idx, self.path, pl_module.hparams)
