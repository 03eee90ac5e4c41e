"""Train: from a config to a finished run folder."""

import errno
import math
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, LightningDataModule, LightningModule, seed_everything
from pytorch_lightning.callbacks import WeightAveraging

from ..config.build import build, imported
from ..config.check import given_to
from ..config.files import overrides
from ..config.monitor import check_monitors, check_plateau, logged_by, monitors
from ..config.signatures import signature
from ..config.targets import Place, allowed
from ..config.tree import all_nodes
from ..errors import FailedError, RefusedError, StoppedError, own_frames, refusal
from ..files import write_json
from ..logs import end_log_file, log, rank, start_log
from ..plain import plain_values
from ..runs.checkpoints import damage, how_to_resume, resume_point
from ..runs.folder import RUNS, RunFolder, claim_run_folder, leave_nothing, moved, open_run
from ..runs.loading import check_hyper_parameters, load_checkpoint
from ..runs.lock import locked
from ..runs.metrics import MetricsLog, draw_curves, headline, of_samples, read_metrics, samples_of, shown, split_metrics
from ..runs.provenance import begin, check_same_order, end, origin, read_seen, write_config, write_seen
from ..runs.rerun import check_comparable, compare, say_what_differs
from .processes import Watch, say_who_is_awaited, tells_of_another
from .resume import ExactResume, rows_before, steps_before
from .status import noted
from .trackers import begin_trackers, ended
from .trainer import build_trainer, datamodule_of, place_of
from .trial import check_callbacks, check_loggers, check_states, check_trainer, try_loops

# Errors of a folder: no space, over the quota, read-only, too large, broken, no permission, gone.
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.ENOENT}


def train(cfg: DictConfig) -> RunFolder:
    """Train, test the best checkpoint, write plots and metrics; returns the run folder.

    Raises RefusedError before any work if the config can't be trained, FailedError if the folder can't be written or
    another process has ended, StoppedError after a signal.
    """
    before = RunFolder(Path(cfg.rerun)) if cfg.rerun else None
    folder = claim_run_folder(cfg.name, f"rerun_of_{before.path.name}" if before else kind_of(cfg))
    if before:
        _lead_into(cfg, folder, before)
    cfg.name = folder.name
    try:
        with locked(folder) if rank() == 0 else nullcontext(), noted(folder):
            _train(cfg, folder, before)
    except (RefusedError, ModuleNotFoundError):
        end_log_file()
        leave_nothing(folder)
        raise
    except StoppedError as stopped:
        end_log_file()
        leave_nothing(folder)
        raise StoppedError(stopped.signum, f"{stopped} {how_to_resume(folder)}".strip()) from None
    except RuntimeError as error:
        if not tells_of_another(error):
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


def _lead_into(cfg: DictConfig, folder: RunFolder, before: RunFolder) -> None:
    """Replace the folder of the run `before` by that of this run in the paths of the config."""
    old = RUNS / str(open_run(str(before.path))[1].name)
    for group in ("trainer", "callbacks"):
        plain = OmegaConf.to_container(cfg[group], resolve=True) if cfg.get(group) else None
        OmegaConf.update(cfg, group, moved(plain, old, folder.path), merge=False)


def kind_of(cfg: DictConfig) -> str:
    """Return the model option, which names a run, after the time, if no name is given."""
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
        check_monitors(monitors(cfg, callbacks), vars(model)["logged"], cfg.model._target_)
    trial = try_loops(cfg, model, datamodule)
    trainer, metrics_log = build_trainer(cfg, folder)
    resume, rows, step = None, 0, 0
    if rank() == 0:
        known = origin(cfg, [override.text for override in overrides()], datamodule.fingerprint(), trainer.world_size)
        if folder.continued:
            if cfg.resume == "exact":
                check_same_order(folder, known)
            resume = resume_point(folder)
            if resume:
                checkpoint = load_checkpoint(resume)
                if cfg.resume == "inexact":
                    check_states(trial, checkpoint, folder.name)
                rows, step = rows_before(checkpoint), steps_before(checkpoint)
        begin(folder, known)
        note_seen(cfg, folder, datamodule)
        write_config(cfg, folder)  # from here on the run has begun
        _say_begin(folder, model, datamodule)
        if before:
            say_what_differs(before, known)
        if folder.continued:
            nothing = "It had not saved anything yet: it begins again"
            log.info(f"Resuming from {resume.as_posix()}, step {step}" if resume else nothing)
        begin_trackers(cfg, folder, trainer.loggers[1:], metrics_log.rewind(rows), step)
    elif folder.continued and folder.last.exists():
        resume = folder.last
    with Watch(trainer, folder), ended(trainer.loggers):
        samples = fit_and_test(trainer, model, datamodule, folder, resume)
    if rank() == 0:
        finish(folder, metrics_log, cfg.monitor, datamodule, samples, before)


def _say_begin(folder: RunFolder, model: LightningModule, datamodule: Any) -> None:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    begun = f"{'Resuming' if folder.continued else 'Run'} {folder.path.as_posix()}"
    log.info(f"{begun}: {parameters:,} parameters, {datamodule.describe()}")


def note_seen(cfg: DictConfig, folder: RunFolder, datamodule: Any) -> None:
    """Record what the run is trained on; warn if that, or the training of `init_from`, includes test samples."""
    if not hasattr(datamodule, "trained_on"):
        log.warning("The datamodule has no trained_on() (see datamodules/base.py): evaluate.py can't tell seen samples")
        return
    keys = datamodule.trained_on()
    if copies := int(datamodule.is_seen(keys).sum()):
        log.warning(f"Of the test {datamodule.sample_name} {copies:,} hold content that is trained or validated on")
    earlier = read_seen(open_run(cfg.init_from, key="init_from")[0]) if cfg.init_from else None
    if earlier is not None:
        if count := int(datamodule.is_seen(earlier).sum()):
            log.warning(f"init_from={cfg.init_from} was trained on {count:,} of the test {datamodule.sample_name}")
        keys = np.concatenate([keys, earlier])
    write_seen(folder, keys)


def check_built(cfg: DictConfig) -> dict[str, Callback]:
    """Build what needs no data and leaves no trace; an optimizer is built for one number. Returns callbacks by key.

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
        target = imported(node["_target_"])
        if isinstance(target, type) and issubclass(target, torch.optim.Optimizer):
            build(OmegaConf.select(cfg, key), [torch.nn.Parameter(torch.zeros(1))], place=Place.ANY)
    if logged := logged_by(cfg.model._target_):
        check_monitors(monitors(cfg, callbacks), logged, cfg.model._target_)
    _check_schedule(cfg)
    return callbacks


def _check_schedule(cfg: DictConfig) -> None:
    """Raises RefusedError if a ReduceLROnPlateau, built here for one number, has the wrong mode."""
    node, target = cfg.model.get("scheduler"), cfg.model._target_
    takes = signature(allowed(target))
    given = given_to(takes.parameters.get("scheduler")) if takes else None
    names = given.names if given else frozenset()
    if node is None or not names <= {"total_steps"}:
        return
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, steps = None, dict[str, Any](dict.fromkeys(names, 100))
    with suppress(Exception):  # needs several parameter groups, say: the model will report it
        scheduler = build(node, optimizer, place=Place.ANY, **steps)
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        check_plateau("model.scheduler", scheduler.mode, target)


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
    plain_values(dict(datamodule.facts), "datamodule.facts", also=(torch.Tensor,))
    model = build(cfg.model, recursive=False, place=Place.ANY, **datamodule.facts)
    check_hyper_parameters("model.hparams", dict(model.hparams))
    if cfg.init_from:
        source, _ = open_run(cfg.init_from)
        _start_from(model, source.checkpoint("best"))
    return model


def _start_from(model: LightningModule, checkpoint: Path) -> None:
    """Copy the weights that fit, and log those that do not. The optimizer starts anew."""
    saved = load_checkpoint(checkpoint)["state_dict"]
    weights = {name: value for name, value in saved.items() if isinstance(value, torch.Tensor)}
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise RefusedError(f"init_from: no tensor of {checkpoint} fits this model; choose the same model=")
    model.load_state_dict(fitting, strict=False)
    log.info(f"Weights from {checkpoint}: {len(fitting)} of {len(own)} tensors fit")
    for name in own.keys() - fitting.keys():
        given = tuple(weights[name].shape) if name in weights else "absent"
        log.info(f"  {name} starts anew: {tuple(own[name].shape)} here, {given} there")


def fit_and_test(
    trainer: Any, model: LightningModule, datamodule: LightningDataModule, folder: RunFolder, resume: Path | None
) -> dict[str, tuple[int, int]]:
    """Train, from the checkpoint `resume` if one is given; then test the best checkpoint.

    Returns, for each split, how many samples were used and how many there are.
    """
    for logger in trainer.loggers[1:]:
        logger.log_hyperparams(dict(model.hparams))
    try:
        say_who_is_awaited(trainer)
        trainer.fit(model, datamodule, ckpt_path=resume, weights_only=True)
        samples = {split: samples_of(trainer, split) for split in ("train", "val")}
        _test(trainer, model, datamodule, folder)
        return {**samples, "test": samples_of(trainer, "test")}
    except Exception as error:
        if resume is None or not _is_of_the_checkpoint(error, trainer):
            raise
        if "Error(s) in loading state_dict" in str(error):
            whose = f"name={folder.name}: the model is not the one that the run began with"
            raise RefusedError(f"{whose}; its weights can be taken where they fit: init_from={folder.path}") from error
        reason = f"{type(error).__name__}: {error}"
        raise RefusedError(
            f"name={folder.name}: {resume.as_posix()} holds no state to resume from: {reason}"
        ) from error


def _is_of_the_checkpoint(error: Exception, trainer: Any) -> bool:
    """True if the resumed checkpoint caused an error: raised before any step, and not in research code."""
    stepped = any(each.begun > 1 for each in trainer.callbacks if isinstance(each, ExactResume))
    rooms = {Path(frame.filename).parent.name for frame in own_frames(error)}
    known = isinstance(error, RefusedError | FailedError | OSError | ModuleNotFoundError)
    return not known and not stepped and not rooms & {"models", "datamodules", "callbacks"}


def _test(trainer: Any, model: LightningModule, datamodule: LightningDataModule, folder: RunFolder) -> None:
    if not folder.best.is_file():
        log.warning("No best.ckpt (no ModelCheckpoint saved one): the test is of the model as it is now")
    tested = next((path for path in (folder.best, folder.last) if path.is_file() and not damage(path)), None)
    if tested and any(isinstance(each, WeightAveraging) for each in trainer.callbacks):
        # After fit, Lightning would load the weights of the checkpoint that are not averaged.
        model.load_state_dict(load_checkpoint(tested)["state_dict"])
        tested = None
    trainer.test(model, datamodule, ckpt_path=tested, weights_only=True, verbose=False)


def finish(
    folder: RunFolder, metrics_log: MetricsLog, monitor: str, datamodule: Any, samples: dict[str, tuple[int, int]],
    before: RunFolder | None = None,
) -> None:  # fmt: skip
    """Write metrics.json and the learning curves; log what was reached, where it is and what comes next.

    For a rerun, also log how it compares with the run `before`.
    """
    rows = read_metrics(metrics_log.path)  # in the order of the columns, as a resumed run has them
    best_step = float("inf")
    if folder.best.is_file():
        best_step = steps_before(load_checkpoint(folder.best))
    at_best = {key: value for row in rows if row["step"] < best_step for key, value in row.items()}
    results: dict[str, Any] = {split: split_metrics(at_best, split) for split in ("train", "val")}
    results["test"] = split_metrics({k: v for row in rows for k, v in row.items()}, "test")
    try:
        draw_curves(rows, folder.plots / "learning_curves.png", at_best.get("step") if folder.best.is_file() else None)
    except Exception as error:  # column names may be untrusted
        log.warning(f"The learning curves could not be drawn: {type(error).__name__}: {error}")
    run = folder.path.as_posix()
    end(folder)
    folder.previous.unlink(missing_ok=True)
    log.info("")
    if before:
        compare(folder, before)
    best = {key: at_best.get(key) for key in ("epoch", "step")}  # of the last row of metrics.csv before best.ckpt
    results |= {"best": best, "samples": {split: taken for split, (taken, _) in samples.items()}}
    write_json(folder.metrics, results)
    kind = "Best" if folder.best.is_file() else "Last"
    value = at_best.get(monitor, float("nan"))
    reached = f"{kind} {monitor} {shown(value)}" if math.isfinite(value) else f"No value of {monitor} was logged"
    measured = of_samples(*samples["test"], getattr(datamodule, "sample_name", "samples"))
    tested = f"{headline(results['test'], 'test')}{measured}" if results["test"] else "nothing was tested"
    log.info(f"{reached}; {tested}")
    log.info(f"Results  {run}/metrics.json, plots in {run}/plots/")
    log.info(f"Next     python predict.py run={run} input={input_example(datamodule)}")
    log.info(f"         python evaluate.py run={run}")


def input_example(datamodule: Any) -> str:
    """Return an example for `input=` of predict.py, which the datamodule may define."""
    return getattr(datamodule, "input_example", "<your files>")
