"""Train: from a config to a finished run folder; and k-fold cross-validation, a set of such runs."""

import errno
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningDataModule, LightningModule, seed_everything
from pytorch_lightning.callbacks import WeightAveraging

from ..errors import FailedError, RefusedError, StoppedError, refusal
from ..front_door.check import all_nodes
from ..front_door.runs import config_of_fold
from ..run_folder.checkpoints import damage, how_to_go_on, load_checkpoint, resume_point
from ..run_folder.folder import (
    RunFolder,
    claim_run_folder,
    end_log_file,
    leave_nothing,
    locked,
    log,
    open_run,
    overrides,
    rank,
    start_log,
    write_json,
)
from ..run_folder.metrics import MetricsLog, draw_curves, headline, read_metrics, split_metrics, summarise
from ..run_folder.provenance import begin, check_same_order, compare, end, origin, say_what_differs, write_config
from .build import build, build_trainer, imported
from .exact import rows_before, steps_before
from .processes import Watch, say_who_is_awaited, tells_of_another
from .trial import check_callbacks, check_is, check_loggers, check_states, check_trainer, try_loops

# Of a folder: no space, over the quota, read-only, too large, broken, no permission, gone.
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.ENOENT}


def train(cfg: DictConfig) -> RunFolder:
    """Train, test the best checkpoint, write pictures and metrics; returns the run folder.

    Raises RefusedError before any work where the config can't be trained, FailedError where the folder can't be
    written, StoppedError after a signal.
    """
    before = RunFolder(Path(cfg.rerun)) if cfg.rerun else None
    folder = claim_run_folder(cfg.name, f"rerun_of_{before.path.name}" if before else kind_of(cfg))
    cfg.name = folder.name
    try:
        with locked(folder) if rank() == 0 else nullcontext():
            _train(cfg, folder, before)
    except (RefusedError, ModuleNotFoundError):
        end_log_file()
        leave_nothing(folder)
        raise
    except StoppedError as stopped:
        end_log_file()
        leave_nothing(folder)
        raise StoppedError(stopped.signum, f"{stopped} {how_to_go_on(folder)}".strip()) from None
    except RuntimeError as error:
        if not tells_of_another(error):
            raise
        if rank() > 0:  # the first process tells
            raise SystemExit(1) from error
        raise FailedError(f"Another process of the training has ended. {how_to_go_on(folder)}") from error
    except OSError as error:
        path = Path(str(error.filename or folder.path)).absolute()
        if error.errno not in UNWRITABLE or folder.path.absolute() not in (path, *path.parents):
            raise
        raise FailedError(f"{error.filename or folder.path}: {error.strerror}. {how_to_go_on(folder)}") from error
    return folder


def kind_of(cfg: DictConfig) -> str:
    """What a run is called after, beside the time, where it is given no name: the option of its model."""
    return HydraConfig.get().runtime.choices["model"]


def _train(cfg: DictConfig, folder: RunFolder, before: RunFolder | None) -> None:
    start_log(folder.log if rank() == 0 else None)
    seed_everything(cfg.seed, verbose=False)
    check_built(cfg)
    datamodule = build_datamodule(cfg)
    model = build_model(cfg, datamodule)
    trial = try_loops(cfg, model, datamodule)
    trainer, metrics_log = build_trainer(cfg, folder)
    resume, rows, step = None, 0, 0
    if rank() == 0:
        known = origin(cfg, overrides(), datamodule.fingerprint(), trainer.world_size)
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
        write_config(cfg, folder)  # from here on the run has begun
        parameters = sum(parameter.numel() for parameter in model.parameters())
        begun = f"{'Going on with' if folder.continued else 'Run'} {folder.path.as_posix()}"
        log.info(f"{begun}: {parameters:,} parameters, {datamodule.describe()}")
        if before:
            say_what_differs(before, known)
        if resume:
            log.info(f"Going on from {resume.as_posix()}, step {step}")
        elif folder.continued:
            log.info("It had not saved anything yet: it begins again")
        metrics_log.rewind(rows)
    elif folder.continued and folder.last.exists():
        resume = folder.last
    with Watch(trainer, folder):
        fit_and_test(trainer, model, datamodule, folder, resume)
    if rank() == 0:
        finish(folder, metrics_log, cfg.monitor, before)


def check_built(cfg: DictConfig) -> None:
    """Build what needs no data and leaves no trace, and let go of it: each optimizer for one number, say.

    Raises RefusedError where a part of the config can't be built.
    """
    callbacks = {f"callbacks.{name}": build(node) for name, node in (cfg.get("callbacks") or {}).items()}
    check_callbacks(callbacks)
    check_trainer(cfg, build(cfg.trainer, callbacks=[*callbacks.values()], logger=False), callbacks)
    check_loggers(cfg.get("logger"))
    check_is("datamodule", build(cfg.datamodule), LightningDataModule)
    for key, node in all_nodes("model", OmegaConf.to_container(cfg.model, resolve=True)):
        target = imported(node["_target_"])
        if isinstance(target, type) and issubclass(target, torch.optim.Optimizer):
            build(OmegaConf.select(cfg, key), [torch.nn.Parameter(torch.zeros(1))])


def build_datamodule(cfg: DictConfig) -> Any:
    """The datamodule with its training data read, so that its `facts` are known."""
    datamodule = build(cfg.datamodule)
    try:
        datamodule.prepare_data()
        datamodule.setup("fit")
    except NotImplementedError as error:  # of a class that is there to be subclassed
        raise refusal("datamodule._target_", cfg.datamodule._target_, str(error)) from error
    return datamodule


def build_model(cfg: DictConfig, datamodule: Any) -> LightningModule:
    """The model, told what the data says of itself; with the weights of the run `init_from` where one is given."""
    model = build(cfg.model, recursive=False, **datamodule.facts)
    if cfg.init_from:
        source, _ = open_run(cfg.init_from)
        _start_from(model, source.checkpoint("best"))
    return model


def _start_from(model: LightningModule, checkpoint: Path) -> None:
    """Copy the weights that fit; say which did not. The optimizer starts anew."""
    weights = load_checkpoint(checkpoint)["state_dict"]
    own = model.state_dict()
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
) -> None:
    """Train, on from `resume` where a run was begun before; then test the best checkpoint."""
    for logger in trainer.loggers[1:]:
        logger.log_hyperparams(dict(model.hparams))
    try:
        say_who_is_awaited(trainer)
        trainer.fit(model, datamodule, ckpt_path=resume, weights_only=True)
    except RuntimeError as error:
        if resume is None or "Error(s) in loading state_dict" not in str(error):
            raise
        whose = f"name={folder.name}: the model is not the one that the run began with"
        raise RefusedError(f"{whose}; its weights can be taken where they fit: init_from={folder.path}") from error
    if not folder.best.is_file():
        log.warning("No best.ckpt (no ModelCheckpoint saved one): the test is of the model as it is now")
    tested = next((path for path in (folder.best, folder.last) if path.is_file() and not damage(path)), None)
    if tested and any(isinstance(each, WeightAveraging) for each in trainer.callbacks):
        # After fit Lightning would take the weights that are not averaged out of the checkpoint.
        model.load_state_dict(load_checkpoint(tested)["state_dict"])
        tested = None
    trainer.test(model, datamodule, ckpt_path=tested, weights_only=True, verbose=False)


def finish(folder: RunFolder, metrics_log: MetricsLog, monitor: str, before: RunFolder | None = None) -> None:
    """Write metrics.json and the learning curves; end with what was reached, where it lies and what comes next.

    Of a rerun say too how it compares with the run `before`.
    """
    rows = read_metrics(metrics_log.path)  # as a run that was stopped has them, in the order of the columns
    best_step = float("inf")
    if folder.best.is_file():
        best_step = steps_before(load_checkpoint(folder.best))
    at_best = {key: value for row in rows if row["step"] < best_step for key, value in row.items()}
    results = {split: split_metrics(at_best, split) for split in ("train", "val")}
    results["test"] = split_metrics({k: v for row in rows for k, v in row.items()}, "test")
    draw_curves(rows, folder.pictures / "learning_curves.png")
    run = folder.path.as_posix()
    end(folder)
    folder.previous.unlink(missing_ok=True)
    log.info("")
    if before:
        compare(folder, before)
    write_json(folder.metrics, results)
    kind = "Best" if folder.best.is_file() else "Last"
    log.info(f"{kind} {monitor} {at_best.get(monitor, float('nan')):.4f}; {headline(results['test'], 'test')}")
    log.info(f"Results  {run}/metrics.json, pictures in {run}/pictures/")
    log.info(f"Next     python predict.py run={run} input=<your files>")
    log.info(f"         python evaluate.py run={run}")


def train_folds(cfg: DictConfig) -> RunFolder:
    """Train each of `cfg.folds` folds that has not finished, and write the table of all; returns the set's folder.

    Raises what `train` raises.
    """
    start_log()
    if build(cfg.trainer, logger=False).world_size > 1:
        one = f"name={cfg.name or '<set>'}/fold_1 datamodule.folds={cfg.folds} datamodule.fold=1"
        raise RefusedError(f"folds={cfg.folds}: several processes train one fold a command: {one}, then the next")
    folder = claim_run_folder(cfg.name, f"{kind_of(cfg)}_folds")
    cfg.name = folder.name
    runs = []
    for number in range(1, cfg.folds + 1):
        fold = config_of_fold(cfg, number)
        log.info(f"{'' if number == 1 else chr(10)}Fold {number} of {cfg.folds}")
        run = RunFolder(folder.path / f"fold_{number}")
        if run.metrics.is_file():
            log.info(f"{run.path.as_posix()} has finished")
        else:
            try:
                train(fold)
            except (FailedError, StoppedError) as error:  # the command that goes on is that of the set
                error.args = (str(error).replace(f"name={fold.name}", f"name={cfg.name}"),)
                raise
        runs.append(run)
    summarise(folder, runs, cfg.monitor)
    return folder
