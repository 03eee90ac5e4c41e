"""k-fold cross-validation: one run for each fold, and one table of all. Folders and configs: runs/folds.py."""

import csv
import hashlib
import math
import statistics
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from omegaconf import DictConfig

from ..config.build import build, import_target
from ..config.targets import Place
from ..config.tree import last_part
from ..errors import FailedError, RefusedError, StoppedError, refusal
from ..files import write_json, write_text
from ..logs import log, quiet, start_log
from ..runs.folder import RUNS, RunFolder, claim_run_folder
from ..runs.folds import config_of_fold, folds_of
from ..runs.metrics import escape_dollars, format_metric, new_plot, read_results
from .train import build_datamodule, input_example, model_option, train


def train_folds(cfg: DictConfig) -> RunFolder:
    """Train each of `cfg.folds` folds that has not finished, and write the table of all; returns the set's folder.

    Raises what `train` raises.
    """
    start_log()
    if build(cfg.trainer, place=Place.OWN, logger=False).world_size > 1:
        one = f"name={cfg.name or '<set>'}/fold_1 datamodule.folds={cfg.folds} datamodule.fold=1"
        raise RefusedError(f"folds={cfg.folds}: several processes train one fold a command: {one}, then the next")
    if not (cfg.name and folds_of(RunFolder(RUNS / cfg.name))):  # checked when the set was begun
        check_folds_differ(cfg)
    folder = claim_run_folder(cfg.name, f"{model_option()}_folds")
    cfg.name = folder.name
    if cfg.init_from:
        log.warning(f"init_from={cfg.init_from} may be trained on what a fold validates on: val/ may look too good")
    for number in range(1, cfg.folds + 1):
        log.info(f"Fold {number} of {cfg.folds}")
        fold = config_of_fold(cfg, number)
        if RunFolder(RUNS / fold.name).finished:
            log.info(f"runs/{fold.name} has finished")
        else:
            try:
                train(fold)
            except (FailedError, StoppedError) as error:  # the set's command resumes it
                error.args = tuple(str(line).replace(f"name={fold.name}", f"name={cfg.name}") for line in error.args)
                raise
        log.info("")
    summarise(folder, cfg.monitor, input_example(import_target(cfg.datamodule._target_)))
    return folder


def check_folds_differ(cfg: DictConfig) -> None:
    """Raises RefusedError if two folds validate on the same samples: one training would be done twice."""
    with quiet(True):  # the trainings log what was read
        first, second = (hash_validation(build_datamodule(config_of_fold(cfg, number))) for number in (1, 2))
    if first == second:
        name = last_part(cfg.datamodule._target_)
        why = f"folds 1 and 2 validate on the same samples; {name} does not divide its data by `folds` and `fold`"
        raise refusal("folds", cfg.folds, why)


def hash_validation(datamodule: Any) -> str:
    """Return the SHA-256 of the validation batches, or of all the data if they hold no tensors."""
    parts: list[bytes] = []
    digest = hashlib.sha256()
    for batch in datamodule.val_dataloader():
        parts.clear()
        apply_to_collection(batch, torch.Tensor, lambda tensor: parts.append(tensor.contiguous().numpy().tobytes()))
        digest.update(b"".join(parts))
    return digest.hexdigest() if parts else datamodule.fingerprint()


Table = dict[str, dict[str, float]]  # for each metric: its value in each fold, their mean and standard deviation


def summarise(folder: RunFolder, monitor: str, example: str) -> None:
    """Write folds.json, folds.csv and plots/folds.png; log the results and the commands to run next.

    `example` is a value of `input=` for predict.py.
    """
    runs = folds_of(folder)
    table = table_of(runs)
    draw_folds(table, folder.plots / "folds.png")
    rows = [*(run.path.name for run in runs), "mean", "std"]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["", *table])
    writer.writerows([row, *(values[row] for values in table.values())] for row in rows)
    write_text(folder.path / "folds.csv", text.getvalue())
    log.info(f"{'':<20} mean ± std          {'  '.join(rows[:-2])}")
    for metric, values in table.items():
        if metric == monitor or metric.startswith("test/"):
            *each, mean, std = map(format_metric, values.values())
            log.info(f"{metric:<20} {f'{mean} ± {std}':<18}  {'  '.join(f'{value:<6}' for value in each)}".rstrip())
    write_json(folder.folds, {"folds": len(runs), "metrics": table})
    where = folder.path.as_posix()
    log.info(f"Results  {where}/folds.json, {where}/folds.csv, {where}/plots/folds.png")
    log.info(f"Next     python evaluate.py run={where}, which takes all folds together, as an ensemble")
    log.info(f"         python predict.py run={where} input={example}")


def table_of(runs: list[RunFolder]) -> Table:
    """Return the validation metrics of the best checkpoint and the test metrics; std is that of a sample (n - 1).

    Metrics of a part, such as one class (`val/f1/cat`), are left to metrics.json of each run.
    """
    results = {run.path.name: read_results(run.metrics) for run in runs}
    table: Table = {}
    for split in ("val", "test"):
        for name in next(iter(results.values()))[split]:
            values = {fold: float(metrics[split][name]) for fold, metrics in results.items() if name in metrics[split]}
            if "/" not in name and len(values) == len(runs):
                finite = all(map(math.isfinite, values.values()))
                mean = statistics.mean(values.values()) if finite else math.nan
                std = statistics.stdev(values.values()) if finite else math.nan
                table[f"{split}/{name}"] = {**values, "mean": mean, "std": std}
    return table


def draw_folds(table: Table, path: Path) -> None:
    """Plot each metric in a panel: a point for each fold, a line at the mean, a band of one standard deviation."""
    count = len(next(iter(table.values()))) - 2
    with new_plot(path, list(table), f"Metrics of {count} folds") as plot:
        for metric, axes in plot.items():
            *points, mean, std = table[metric].values()
            numbers = range(1, count + 1)
            axes.axhspan(
                mean - std, mean + std, color="tab:blue", alpha=0.15, linewidth=0, label="± standard deviation"
            )
            axes.axhline(mean, color="tab:blue", linewidth=1, label="mean")
            axes.plot(numbers, points, "o", color="tab:blue", label="fold")
            name = escape_dollars(metric)
            axes.set(xlabel="fold", ylabel=name, xticks=numbers[:: -(-count // 12)])
            axes.set_title(f"{name}: {mean:.4g} ± {std:.2g}", fontsize=9)
            axes.grid(axis="y", alpha=0.3)
            axes.legend(fontsize=7)
