"""Train: from a config to a finished run folder."""

import errno
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, LightningDataModule, LightningModule, seed_everything
from pytorch_lightning.callbacks import WeightAveraging

from ..config.build import build, import_target
from ..config.files import overrides
from ..config.monitor import check_monitors, logged_by
from ..config.targets import Place
from ..config.tree import all_nodes
from ..errors import FailedError, RefusedError, StoppedError, own_frames, refusal
from ..files import write_json
from ..logs import end_log_file, log, rank, start_log
from ..plain import check_plain
from ..runs import provenance
from ..runs.checkpoint_files import damage, how_to_resume, resume_point
from ..runs.folder import RUNS, RunFolder, claim_run_folder, moved, remove_if_unbegun
from ..runs.loading import check_hyper_parameters, load_checkpoint
from ..runs.lock import locked
from ..runs.metrics import count_samples, draw_curves, format_metric, headline, read_metrics, split_metrics
from ..runs.rerun import check_comparable, compare, log_changes
from ..runs.saved import open_run
from ..runs.seen import read_seen, seen_as, write_seen
from .processes import Watch, is_lost_process, log_awaited_processes
from .resume import ExactResume, progress_of
from .status import noted
from .trackers import begin_trackers, ended
from .trainer import build_trainer, datamodule_of, place_of
from .trial import Trial, check_callbacks, check_loggers, check_states, check_trainer, try_loops

# Errors of a folder: no space, over the quota, read-only, too large, broken, no permission, gone.
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.ENOENT}


def train(cfg: DictConfig) -> RunFolder:
    """Train, test the best checkpoint, write plots and metrics; returns the run folder.

    Raises RefusedError before any work if the config can't be trained, FailedError if the folder can't be written or
    another process has ended, StoppedError after a signal.
    """
    before = RunFolder(Path(cfg.rerun)) if cfg.rerun else None
    folder = claim_run_folder(cfg.name, f"rerun_of_{before.path.name}" if before else model_option())
    if before:
        _move_paths(cfg, folder, before)
    cfg.name = folder.name
    try:
        with locked(folder) if rank() == 0 else nullcontext(), noted(folder):
            _train(cfg, folder, before)
    except (RefusedError, ModuleNotFoundError, StoppedError) as error:
        if not folder.begun:
            end_log_file()
            remove_if_unbegun(folder)
        if isinstance(error, StoppedError):
            raise StoppedError(error.signum, f"{error} {how_to_resume(folder)}".strip()) from None
        raise
    except RuntimeError as error:
        if not is_lost_process(error):
            raise
        if rank() > 0:  # the first process reports it
            raise SystemExit(1) from error
        raise FailedError(f"Another process of the training has ended. {how_to_resume(folder)}") from error
    except OSError as error:
        path = Path(str(error.filename or folder.path)).absolute()
        if error.errno not in UNWRITABLE or folder.path.absolute() not in (path, *path.parents):
            raise
        raise FailedError(f"{error.filename or folder.path}: {error.strerror}. {how_to_resume(folder)}") from error
    return folder


def _move_paths(cfg: DictConfig, folder: RunFolder, before: RunFolder) -> None:
    """Replace the folder of the run `before` in the paths of the config by that of this run."""
    old = RUNS / str(open_run(str(before.path))[1].name)
    for group in ("trainer", "callbacks"):
        plain = OmegaConf.to_container(cfg[group], resolve=True) if cfg.get(group) else None
        OmegaConf.update(cfg, group, moved(plain, old, folder.path), merge=False)


def model_option() -> str:
    """Return the option `model=`, which is part of the name of a run that is given none."""
    return HydraConfig.get().runtime.choices["model"]


def _train(cfg: DictConfig, folder: RunFolder, before: RunFolder | None) -> None:
    start_log(folder.log if rank() == 0 else None)
    seed_everything(cfg.seed, verbose=False)
    if before:
        check_comparable(before)
    callbacks = check_built(cfg)
    datamodule = build_datamodule(cfg)
    model = build_model(cfg, datamodule)
    if "logged" in vars(model):  # the metrics that it logs for this data
        check_monitors(cfg, callbacks, vars(model)["logged"], cfg.model._target_)
    trial = try_loops(cfg, model, datamodule)
    trainer, metrics_log = build_trainer(cfg, folder)
    if rank() == 0:
        typed = [override.text for override in overrides()]
        origin = provenance.describe_origin(cfg, typed, datamodule.fingerprint(), trainer.world_size)
        origin["data_sha256_of"] = getattr(datamodule, "fingerprint_of", "content")
        resume, step, rows = _saved_state(cfg, folder, origin, trial) if folder.continued else (None, 0, 0)
        provenance.record_start(folder, origin)
        record_seen(cfg, folder, datamodule)
        provenance.write_config(cfg, folder)  # from here on the run has begun
        parameters = sum(parameter.numel() for parameter in model.parameters())
        verb = "Resuming" if folder.continued else "Run"
        log.info(f"{verb} {folder.path.as_posix()}: {parameters:,} parameters, {datamodule.describe()}")
        if before:
            log_changes(before, origin)
        if folder.continued:
            start = f"Resuming from {resume.as_posix()}, step {step}" if resume else "Nothing was saved: starting over"
            log.info(start)
        begin_trackers(cfg, folder, trainer.loggers[1:], metrics_log.rewind(rows), step)
    else:
        resume = folder.last if folder.continued and folder.last.exists() else None
    with Watch(trainer, folder), ended(trainer.loggers):
        samples = fit_and_test(trainer, model, datamodule, folder, resume)
    if rank() == 0:
        finish(folder, cfg.monitor, datamodule, samples, before, getattr(model, "metric_units", None))


def _saved_state(cfg: DictConfig, folder: RunFolder, origin: dict[str, Any], trial: Trial) -> tuple[Any, int, int]:
    """Return the checkpoint to resume from, its step and its rows of metrics.csv; None and zeros if nothing was saved.

    Raises RefusedError if the run can't resume from it.
    """
    if cfg.resume == "exact":
        provenance.check_same_order(folder, origin)
    resume = resume_point(folder)
    if resume is None:
        return None, 0, 0
    checkpoint = load_checkpoint(resume)
    if cfg.resume == "inexact":
        check_states(trial, checkpoint, folder.name)
    return resume, *progress_of(checkpoint)


def record_seen(cfg: DictConfig, folder: RunFolder, datamodule: Any) -> None:
    """Record the samples that the run trains on; warn if they, or those of `init_from`, are among the test samples."""
    if not hasattr(datamodule, "trained_on"):
        log.warning("The datamodule has no trained_on() (see datamodules/base.py): evaluate.py can't tell seen samples")
        return
    keys = datamodule.trained_on()
    relation = f"{datamodule.sample_name} {seen_as(datamodule)}"
    if copies := int(datamodule.is_seen(keys).sum()):
        log.warning(f"{copies:,} of the test {relation} samples to train or validate on")
    earlier = read_seen(open_run(cfg.init_from, key="init_from")[0]) if cfg.init_from else None
    if earlier is not None:
        if count := int(datamodule.is_seen(earlier).sum()):
            log.warning(f"{count:,} of the test {relation} samples that init_from={cfg.init_from} was trained on")
        keys = np.concatenate([keys, earlier])
    write_seen(folder, keys)


def check_built(cfg: DictConfig) -> dict[str, Callback]:
    """Build the parts of the config that need no data, each optimizer for one parameter. Returns the callbacks by key.

    Raises RefusedError if a part of the config can't be built.
    """
    place = place_of(cfg)
    options = cfg.get("callbacks") or {}
    callbacks = {f"callbacks.{name}": build(node, place=place) for name, node in options.items()}
    check_callbacks(callbacks)
    check_trainer(cfg, build(cfg.trainer, place=place, callbacks=[*callbacks.values()], logger=False), callbacks)
    check_loggers(cfg.get("logger"))
    datamodule_of(cfg)
    for key, node in all_nodes("model", OmegaConf.to_container(cfg.model, resolve=True)):
        target = import_target(node["_target_"])
        if isinstance(target, type) and issubclass(target, torch.optim.Optimizer):
            build(OmegaConf.select(cfg, key), [torch.nn.Parameter(torch.zeros(1))], place=Place.ANY)
    if logged := logged_by(cfg.model._target_):
        check_monitors(cfg, callbacks, logged, cfg.model._target_)
    return callbacks


def build_datamodule(cfg: DictConfig) -> Any:
    """Build the datamodule and read its training data, so that its `facts` are known."""
    datamodule = datamodule_of(cfg)
    try:
        datamodule.prepare_data()
        datamodule.setup("fit")
    except NotImplementedError as error:  # from an abstract class
        raise refusal("datamodule._target_", cfg.datamodule._target_, str(error)) from error
    return datamodule


def build_model(cfg: DictConfig, datamodule: Any) -> LightningModule:
    """Build the model with the `facts` of the data; with the weights of the run `init_from` if one is given.

    Raises RefusedError if a checkpoint of it could not be loaded: its hyper-parameters have to be plain values.
    """
    check_plain(dict(datamodule.facts), "datamodule.facts", also=(torch.Tensor,))
    model = build(cfg.model, recursive=False, place=Place.ANY, **datamodule.facts)
    check_hyper_parameters("model.hparams", dict(model.hparams))
    if cfg.init_from:
        source, _ = open_run(cfg.init_from)
        _start_from(model, source.checkpoint("best"))
    return model


def _start_from(model: LightningModule, checkpoint: Path) -> None:
    """Copy the weights that fit, and log those that do not. The optimizer starts anew."""
    states = (load_checkpoint(checkpoint)["state_dict"], model.state_dict())
    weights, own = ({name: value for name, value in each.items() if torch.is_tensor(value)} for each in states)
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise RefusedError(f"init_from: no tensor of {checkpoint} fits this model; choose the same model=")
    model.load_state_dict(fitting, strict=False)
    log.info(f"Weights from {checkpoint}: {len(fitting)} of {len(own)} tensors fit")
    for name in own.keys() - fitting.keys():
        shape = tuple(weights[name].shape) if name in weights else "absent"
        log.info(f"  {name} starts anew: {tuple(own[name].shape)} here, {shape} there")


def fit_and_test(
    trainer: Any, model: LightningModule, datamodule: LightningDataModule, folder: RunFolder, resume: Path | None
) -> dict[str, tuple[int, int]]:
    """Train, from the checkpoint `resume` if one is given; then test the best checkpoint.

    Returns, for each split, how many samples were used and how many there are.
    """
    for logger in trainer.loggers[1:]:
        logger.log_hyperparams(dict(model.hparams))
    try:
        log_awaited_processes(trainer)
        trainer.fit(model, datamodule, ckpt_path=resume, weights_only=True)
        if trainer.val_dataloaders is None and trainer.enable_validation:  # killed after its last step: no loop has run
            trainer.fit_loop.epoch_loop.val_loop.setup_data()
        samples = {split: count_samples(trainer, split) for split in ("train", "val")}
        _test(trainer, model, datamodule, folder)
        return {**samples, "test": count_samples(trainer, "test")}
    except Exception as error:
        if resume is None or not _is_of_the_checkpoint(error, trainer):
            raise
        reason = f"{resume.as_posix()} holds no state to resume from: {type(error).__name__}: {error}"
        if "Error(s) in loading state_dict" in str(error):
            reason = "the model is not the one that the run began with; "
            reason += f"its weights can be taken where they fit: init_from={folder.path}"
        raise RefusedError(f"name={folder.name}: {reason}") from error


def _is_of_the_checkpoint(error: Exception, trainer: Any) -> bool:
    """True if the resumed checkpoint caused an error: raised before any step, and not in research code."""
    stepped = any(each.begun > 1 for each in trainer.callbacks if isinstance(each, ExactResume))
    rooms = {Path(frame.filename).parent.name for frame in own_frames(error)}
    explained = isinstance(error, RefusedError | FailedError | OSError | ModuleNotFoundError)
    return not explained and not stepped and not rooms & {"models", "datamodules", "callbacks"}


def _test(trainer: Any, model: LightningModule, datamodule: LightningDataModule, folder: RunFolder) -> None:
    if not folder.best.is_file():
        log.warning("No best.ckpt (no ModelCheckpoint saved one): the model is tested as it is now")
    tested = next((path for path in (folder.best, folder.last) if path.is_file() and not damage(path)), None)
    if tested and any(isinstance(each, WeightAveraging) for each in trainer.callbacks):
        # After fit, Lightning would load the weights of the checkpoint that are not averaged.
        content = load_checkpoint(tested)
        model.on_load_checkpoint(content)
        model.load_state_dict(content["state_dict"])
        tested = None
    trainer.test(model, datamodule, ckpt_path=tested, weights_only=True, verbose=False)


def finish(
    folder: RunFolder,
    monitor: str,
    datamodule: Any,
    samples: dict[str, tuple[int, int]],
    before: RunFolder | None = None,
    units: dict[str, str] | None = None,
) -> None:
    """Write metrics.json and the learning curves; log the results, where they are and the commands to run next.

    For a rerun, also log how it compares with the run `before`.
    """
    rows = read_metrics(folder.metrics_csv)  # in the order of the columns, as a resumed run has them
    has_best = folder.best.is_file()
    best_step = progress_of(load_checkpoint(folder.best))[0] if has_best else math.inf
    at_best = {key: value for row in rows if row["step"] < best_step for key, value in row.items()}
    results: dict[str, Any] = {split: split_metrics(at_best, split) for split in ("train", "val")}
    results["test"] = split_metrics({key: value for row in rows for key, value in row.items()}, "test")
    best = {key: at_best.get(key) for key in ("epoch", "step")}  # of the last row of metrics.csv before best.ckpt
    draw_curves(rows, folder.plots / "learning_curves.png", best if has_best and at_best else None, units)
    provenance.record_end(folder)
    folder.previous.unlink(missing_ok=True)
    log.info("")
    if before:
        compare(folder, before)
    results |= {"best": best, "samples": {split: used for split, (used, _) in samples.items()}}
    write_json(folder.metrics, results)
    value = at_best.get(monitor, math.nan)
    reached = f"{'Best' if has_best else 'Last'} {monitor} {format_metric(value)}"
    tested = headline(results["test"], "test", samples["test"], datamodule) if results["test"] else "nothing was tested"
    log.info(f"{reached if math.isfinite(value) else f'No value of {monitor} was logged'}; {tested}")
    run = folder.path.as_posix()
    log.info(f"Results  {run}/metrics.json, plots in {run}/plots/")
    if "/" not in folder.name:  # the set of a fold says what is next
        log.info(f"Next     python predict.py run={run} input={input_example(datamodule)}")
        log.info(f"         python evaluate.py run={run}")


def input_example(datamodule: Any) -> str:
    """Return an example for `input=` of predict.py, which the datamodule may define."""
    return getattr(datamodule, "input_example", "<your files>")
