"""A resumed run is one run in TensorBoard, MLflow and Weights & Biases (W&B), and each of its steps is there once.

trackers.json in the run folder holds the ids. A resumed run repeats the steps after its last save: TensorBoard hides
what it had of them; MLflow and W&B, which forget nothing, are not sent again what they have. All get what they lack.
"""

import glob
import json
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from ..config.build import build, import_target
from ..config.targets import Place
from ..errors import RefusedError
from ..files import write_json
from ..logs import log, rank
from ..plain import read_json
from ..runs.folder import RunFolder

Rows = list[dict[str, Any]]  # of metrics.csv
Holds = Callable[[str, int | None, float], bool]  # true if a tracker has the metric, by its own name, at that step
STEP = "trainer/global_step"  # the step, in a row of W&B
NOT_IN_MLFLOW = re.compile(r"[^a-zA-Z0-9_/. -]+")  # letters that MLFlowLogger leaves out of names


def build_loggers(cfg: DictConfig, folder: RunFolder) -> list[Logger]:
    """Build the loggers of the config; those of a resumed run get the ids that it has in MLflow and W&B."""
    ids, loggers = _ids(folder), []
    for name, node in (cfg.get("logger") or {}).items():
        target: Any = import_target(node["_target_"])
        logger: Any = None
        if target is MLFlowLogger and name in ids and not node.get("run_id"):
            logger = build(node, place=Place.OWN, run_id=ids[name])
            if rank() == 0 and not _is_active(logger):
                log.warning(f"logger.{name}: MLflow no longer has the run {ids[name]}; a new one is begun")
                logger = None
        elif target is WandbLogger and not (node.get("id") or node.get("version")):
            logger = build(node, place=Place.OWN, id=ids.get(name) or uuid4().hex[:8])
        loggers.append(logger or build(node, place=Place.OWN))
    return loggers


def begin_trackers(cfg: DictConfig, folder: RunFolder, loggers: list[Any], rows: Rows, step: int) -> None:
    """Note the ids of the run; let the trackers of a resumed one have each of `rows` once, and no later step twice.

    `rows` are those of metrics.csv at the last save, and `step` the number of steps done before it.
    """
    named = dict(zip(cfg.get("logger") or {}, loggers, strict=True))
    ids = {name: each.version for name, each in named.items() if isinstance(each, MLFlowLogger | WandbLogger)}
    if ids:
        write_json(folder.trackers, _ids(folder) | ids)
    for name, logger in named.items() if folder.continued else ():
        prefix = f"{cfg.logger[name].prefix}-" if cfg.logger[name].get("prefix") else ""
        if isinstance(logger, TensorBoardLogger):
            take_rows(logger, rows, _left_in_tensorboard(logger, step), prefix)
        elif isinstance(logger, MLFlowLogger):
            keep_hyperparams(logger)
            take_rows(logger, rows, _held_by_mlflow(logger), prefix)
        elif isinstance(logger, WandbLogger):
            take_rows(logger, rows, _held_by_wandb(logger), prefix)


def take_rows(logger: Any, rows: Rows, holds: Holds, prefix: str = "") -> None:
    """Log those of `rows` that the tracker lacks, and from then on only what it has not had."""
    log_metrics, sent = logger.log_metrics, set[tuple[str, int]]()

    def lacks(key: str, step: int | None, value: float) -> bool:
        name = NOT_IN_MLFLOW.sub("", prefix + key) if isinstance(logger, MLFlowLogger) else prefix + key
        return (key, step) not in sent and not holds(name, step, value)

    def log_new(metrics: dict[str, Any], step: int | None = None) -> None:
        if new := {key: value for key, value in metrics.items() if lacks(key, step, value)}:
            log_metrics(new, step)

    for row in rows:
        log_new({key: value for key, value in row.items() if key != "step"}, row["step"])
        sent |= {(key, row["step"]) for key in row}
    logger.log_metrics = log_new


def keep_hyperparams(logger: Any) -> None:
    """Let a run in MLflow keep its first hyper-parameters, whatever it resumes with (`resume=inexact`)."""
    log_hyperparams = logger.log_hyperparams

    def log_unless_changed(params: Any) -> None:
        try:
            log_hyperparams(params)
        except import_module("mlflow.exceptions").MlflowException as error:
            if "Changing param values is not allowed" not in str(error):
                raise

    logger.log_hyperparams = log_unless_changed


@contextmanager
def ended(loggers: list[Any]) -> Iterator[None]:
    """End the run in W&B after the work in this context: the next in this process, a fold, would be logged into it."""
    code = 1
    try:
        yield
        code = 0
    finally:
        if any(isinstance(each, WandbLogger) for each in loggers) and rank() == 0:
            import_module("wandb").finish(exit_code=code)


def _ids(folder: RunFolder) -> dict[str, str]:
    """Return the ids in trackers.json by the keys of the loggers; empty if there are none that can be read."""
    try:
        content = read_json(folder.trackers) if (folder.trackers).exists() else {}
    except RefusedError as error:
        log.warning(str(error))
        return {}
    return {key: id for key, id in content.items() if isinstance(id, str)} if isinstance(content, dict) else {}


def _is_active(logger: MLFlowLogger) -> bool:
    try:
        return logger.experiment.get_run(str(logger.run_id)).info.lifecycle_stage == "active"
    except import_module("mlflow.exceptions").MlflowException:
        return False


def _left_in_tensorboard(logger: TensorBoardLogger, step: int) -> Holds:
    """Hide what was logged from `step` on; readers of event files know how."""
    has_events = any(Path(logger.log_dir).glob("*tfevents*"))
    writer: Any = logger.experiment
    writer.purge_step = step
    writer.close()  # what is logged next opens another file, which begins by hiding
    return lambda key, at, value: has_events and at is not None and at < step


def _held_by_mlflow(logger: MLFlowLogger) -> Holds:
    client, run_id = logger.experiment, str(logger.run_id)
    client.update_run(run_id, status="RUNNING")
    keys = client.get_run(run_id).data.metrics
    held = {(key, each.step) for key in keys for each in client.get_metric_history(run_id, key)}
    return lambda key, step, value: (key, step) in held


def _held_by_wandb(logger: WandbLogger) -> Holds:
    """Ask the summary that the server keeps of the last row or, for an offline run, the files in the run folder."""
    run: Any = logger.experiment
    if run.resumed:
        summary = dict(run.summary)
        last = summary.get(STEP, -1)
        return lambda key, step, value: (
            step is not None and (step < last or (step == last and summary.get(key) == value))
        )
    folders = Path(str(logger.save_dir)).glob(f"wandb/*run-*-{glob.escape(str(run.id))}")
    rows = [row for folder in folders for path in folder.glob("*.wandb") for row in _rows_of_wandb(path)]
    held = {(key, row[STEP]) for row in rows for key in row if STEP in row}
    # W&B numbers the rows of each file from 0, but takes none that is numbered as an earlier one.
    run.log({}, step=1 + max((row.get("_step", -1) for row in rows), default=-1))
    return lambda key, step, value: (key, step) in held


def _rows_of_wandb(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows in the file of an offline run; a killed process has left its end out.

    It holds protocol buffers in LevelDB's log format, after 7 bytes: blocks of 32 kB of fragments, each with a checksum
    (4 bytes), a length (2) and a kind (1): whole (1), first (2), middle (3) or last (4). W&B has no reader in Python.
    """
    record: Any = import_module("wandb.proto.wandb_internal_pb2").Record
    data, at, gathered = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        gathered += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            with suppress(import_module("google.protobuf.message").DecodeError, ValueError):
                items = record.FromString(gathered).history.item
                yield {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
            gathered = b""
