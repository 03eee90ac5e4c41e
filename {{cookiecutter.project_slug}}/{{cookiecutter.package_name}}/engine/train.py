"""Train: from a config to a finished run folder."""

from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from pytorch_lightning.utilities.exceptions import SIGTERMException

from ..front_door.check import all_nodes
from .build import build, imported
from .console import end_log_file, log, start_log
from .curves import draw_curves
from .errors import RefusedError
from .metrics_log import MetricsLog
from .provenance import write_end, write_provenance
from .run_folder import RunFolder, claim_run_folder, open_run, overrides, rank, write_json
from .trainer import build_all, build_trainer


def train(cfg: DictConfig) -> RunFolder:
    """Train, test the best checkpoint, write pictures and metrics; returns the run folder.

    Raises RefusedError before any work where the config can't be trained.
    """
    folder = claim_run_folder(cfg.name, HydraConfig.get().runtime.choices["model"])
    cfg.name = folder.path.name
    start_log(folder.log if rank() == 0 else None)
    started_empty = not folder.config.exists()
    try:
        seed_everything(cfg.seed, verbose=False)
        check_built(cfg)
        datamodule = build_datamodule(cfg)
        model = build_model(cfg, datamodule)
        trainer, metrics_log = build_trainer(cfg, folder)
    except (RefusedError, ModuleNotFoundError):
        _leave_nothing(folder, started_empty)
        raise
    if rank() == 0:
        OmegaConf.save(cfg, folder.config, resolve=True)
        write_provenance(folder, cfg, overrides(), datamodule.fingerprint())
        parameters = sum(parameter.numel() for parameter in model.parameters())
        begun = f"{'Going on with' if folder.continued else 'Run'} {folder.path.as_posix()}"
        log.info(f"{begun}: {parameters:,} parameters, {datamodule.describe()}")
    fit_and_test(trainer, model, datamodule, folder, metrics_log)
    if rank() == 0:
        finish(folder, metrics_log, cfg.monitor)
    return folder


def check_built(cfg: DictConfig) -> None:
    """Build what needs no data and leaves no trace, and let go of it: each optimizer for one number, say.

    Raises RefusedError where a part of the config can't be built.
    """
    build(cfg.trainer, callbacks=build_all(cfg.get("callbacks")), logger=False)
    build(cfg.datamodule)
    for key, node in all_nodes("model", OmegaConf.to_container(cfg.model, resolve=True)):
        target = imported(node["_target_"])
        if isinstance(target, type) and issubclass(target, torch.optim.Optimizer):
            build(OmegaConf.select(cfg, key), [torch.nn.Parameter(torch.zeros(1))])


def build_datamodule(cfg: DictConfig) -> Any:
    """The datamodule with its training data read, so that its `facts` are known."""
    datamodule = build(cfg.datamodule)
    datamodule.prepare_data()
    datamodule.setup("fit")
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
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
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
    trainer: Trainer, model: LightningModule, datamodule: LightningDataModule, folder: RunFolder, log_: MetricsLog
) -> None:
    """Train, on from `last.ckpt` where the run was begun before; then test the best checkpoint."""
    resume = str(folder.last) if folder.continued else None
    if resume:
        step = torch.load(resume, map_location="cpu", weights_only=True)["global_step"]
        log.info(f"Going on from {resume}, step {step}")
        log_.rewind(step)
    for logger in trainer.loggers[1:]:
        logger.log_hyperparams(dict(model.hparams))
    try:
        trainer.fit(model, datamodule, ckpt_path=resume, weights_only=True)
    except SystemExit as stop:  # Lightning makes one of Ctrl-C, with status 1
        if trainer.interrupted and not isinstance(stop, SIGTERMException):
            raise KeyboardInterrupt from stop
        raise
    best = str(folder.best) if folder.best.is_file() else None
    if best is None:
        log.warning("No best.ckpt (no ModelCheckpoint saved one): the test is of the model as it is now")
    trainer.test(model, datamodule, ckpt_path=best, weights_only=True, verbose=False)


def finish(folder: RunFolder, metrics_log: MetricsLog, monitor: str) -> None:
    """Write metrics.json and the learning curves; end with what was reached, where it lies and what comes next."""
    best_step = float("inf")
    if folder.best.is_file():
        best_step = torch.load(folder.best, map_location="cpu", weights_only=True)["global_step"]
    at_best = {key: value for row in metrics_log.rows if row["step"] < best_step for key, value in row.items()}
    results = {split: split_metrics(at_best, split) for split in ("train", "val")}
    results["test"] = split_metrics({k: v for row in metrics_log.rows for k, v in row.items()}, "test")
    draw_curves(metrics_log.rows, folder.pictures / "learning_curves.png")
    run = folder.path.as_posix()
    write_end(folder)
    write_json(folder.metrics, results)
    log.info("")
    log.info(f"Best {monitor} {at_best.get(monitor, float('nan')):.4f}; {headline(results['test'], 'test')}")
    log.info(f"Results  {run}/metrics.json, pictures in {run}/pictures/")
    log.info(f"Next     python predict.py run={run} input=<your files>")
    log.info(f"         python evaluate.py run={run}")


def split_metrics(metrics: dict[str, float], split: str) -> dict[str, float]:
    """The metrics of one split without its name: `val/loss` becomes `loss`."""
    return {key.removeprefix(split + "/"): value for key, value in metrics.items() if key.startswith(split + "/")}


def headline(metrics: dict[str, float], split: str) -> str:
    """The metrics of the whole split in one line; those of a part (`f1/cat`) are left to metrics.json."""
    return ", ".join(f"{split}/{key} {value:.4f}" for key, value in metrics.items() if "/" not in key)


def _leave_nothing(folder: RunFolder, started_empty: bool) -> None:
    """Remove the folder of a run that was refused before it began, and runs/ if it was the first."""
    if not started_empty or rank() > 0:
        return
    end_log_file()
    folder.log.unlink(missing_ok=True)
    for path in (folder.path, folder.path.parent):
        if not any(path.iterdir()):
            path.rmdir()
