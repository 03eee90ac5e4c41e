"""Check the request of a command line: a training, or a finished run to evaluate or predict with."""

import ast
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from ..arguments import Switches
from ..config.check import check_config, check_keys
from ..config.files import Override, overrides
from ..config.limits import check_limits
from ..config.modules import PACKAGE, member
from ..config.monitor import check_monitor
from ..config.targets import Place, allowed
from ..config.tree import leaves, resolved
from ..errors import RefusedError, refusal
from ..files import check_writable
from ..logs import rank
from ..runs.folder import RUNS, RunFolder, check_folder, check_name
from ..runs.folds import check_folds, check_is_set, config_of_fold, folds_of
from ..runs.lock import check_unlocked
from ..runs.outputs import check_output, exists
from ..runs.saved import ChosenRun, check_saved, finished_runs, open_run

# Groups of a finished run that can be overridden; the model and the seed belong to its training.
CHANGEABLE = ("datamodule", "trainer", "callbacks")
# Trainer arguments of a finished run that affect its results or speed; the others belong to its training.
EVALUATION_ARGUMENTS = (
    "accelerator", "benchmark", "detect_anomaly", "deterministic", "enable_progress_bar", "inference_mode",
    "limit_predict_batches", "limit_test_batches", "precision", "use_distributed_sampler",
)  # fmt: skip
# Arguments of a datamodule that define its split, or the samples taken from it.
SPLITTING = (
    "split_seed", "val_fraction", "test_fraction", "folds", "fold", "groups", "split", "time", "test", "stride",
)  # fmt: skip
OWN_KEYS = ("run", "checkpoint", "input", "output")


def choose_run(cfg: DictConfig) -> ChosenRun:
    """Resolve `run`, `checkpoint` and the other keys of the composed `cfg` to a ChosenRun. No torch, no work.

    Raises RefusedError if the run or the checkpoint does not exist, if the run's config, which is untrusted, names a
    target that is not allowed, or if an override belongs to the training.
    """
    check_keys(cfg)
    options = {key: "???" if OmegaConf.is_missing(cfg, key) else cfg[key] for key in map(str, cfg) if key in OWN_KEYS}
    folder = RunFolder(Path(str(options["run"])))
    runs = finished_runs(folder)
    saved = runs[0][1]  # of a set of folds: the config of the first
    changes = [override for override in overrides() if override.key not in OWN_KEYS]
    for text, key in changes:
        if not key.startswith(CHANGEABLE):
            raise RefusedError(f"{text}: of a finished run only {', '.join(CHANGEABLE)} can be changed")
        if "input" not in options and key.removeprefix("datamodule.") in SPLITTING:
            reason = "the run's own data keeps its split, other data (datamodule.root=…) is measured whole"
            raise RefusedError(f"{text}: {reason}; leave it out", key)
    _reduce(saved, cfg, changes)
    if any(key == "datamodule.root" for _, key in changes) and "test" in saved.datamodule:
        saved.datamodule.test = None  # other data is measured whole; the test data of the training may be gone
    check_config(saved, reads_data="input" not in options)
    if "input" in options:
        _check_prediction(saved, options)
    elif saved.trainer.get("limit_test_batches") == 0:
        raise refusal("trainer.limit_test_batches", saved.trainer.limit_test_batches, "nothing would be measured")
    checkpoint, output = str(options["checkpoint"]), options.get("output")
    return ChosenRun(
        folder, saved, [run.checkpoint(checkpoint) for run, _ in runs], checkpoint,
        changes=[override.text for override in changes],
        other_data=any(override.key.startswith("datamodule") for override in changes),
        input=str(options.get("input", "")), output=None if output is None else Path(str(output)),
    )  # fmt: skip


def _reduce(saved: DictConfig, composed: DictConfig, changes: list[Override]) -> None:
    """Reduce the config of a finished run to its model, its datamodule and a Trainer, and apply the overrides.

    A run folder is untrusted: its callbacks, loggers, profiler and plugins are not built. The callbacks, which draw
    plots, are this project's own from `composed`, the user's config, as are the values of overridden keys.
    """
    values = {key: value for key, value in saved.trainer.items() if key in EVALUATION_ARGUMENTS}
    plain = {key: value for key, value in values.items() if not OmegaConf.is_config(value)}
    callbacks = resolved(composed.callbacks) if composed.get("callbacks") else {}
    own = {key: node for key, node in callbacks.items() if str(node.get("_target_")).startswith(f"{PACKAGE}.")}
    with open_dict(saved):
        saved.trainer = {"_target_": "pytorch_lightning.Trainer", **plain, "devices": 1}
        saved.callbacks, saved.logger = own, None
        for text, key in changes:
            value = None if text.startswith("~") else OmegaConf.select(composed, key)
            OmegaConf.update(saved, key, value, merge=False)


def _check_prediction(saved: DictConfig, options: dict[str, Any]) -> None:
    """Raises RefusedError if predict.py can't read `input` or must not write to `output`."""
    source = str(options["input"])
    if not (exists(source) or _declared(saved, "input_is_text")):
        example = _declared(saved, "input_example")
        raise refusal("input", source, "no such file or folder" + (f"; expected {example}" if example else ""))
    if options.get("output") is None:
        return
    output, folder_wanted = Path(str(options["output"])), bool(_declared(saved, "output_is_folder"))
    if output.exists() and output.is_dir() != folder_wanted:
        kinds = ("a file", "a folder") if folder_wanted else ("a folder", "a file")
        raise refusal("output", output, f"is {kinds[0]}; expected the name of {kinds[1]}")
    suffixes = _declared(saved, "output_suffixes")
    if suffixes and output.suffix and output.suffix.lower() not in suffixes.split():
        raise refusal("output", output, f"expected a {suffixes.replace(' ', ', ')} file")
    check_output(output, source, saved)
    check_writable("output", output.parent)


def _declared(saved: DictConfig, name: str) -> Any:
    """Return the class attribute `name` of the datamodule; None if it has none.

    `input_is_text`: `input` need not be a file; `output_is_folder`: `output` is a folder; `output_suffixes`: file
    extensions allowed for `output`; `input_example`: an example of `input`.
    """
    attribute = member(allowed(saved.datamodule._target_), name)
    return attribute.node.value if attribute and isinstance(attribute.node, ast.Constant) else None


# Keys that may change in a resumed run without changing its result.
HARMLESS = (
    "resume", "save_minutes", "logger", "datamodule.num_workers", "datamodule.memory",
    "trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.detect_anomaly",
)  # fmt: skip
WITH_RERUN = ("rerun", "name", "resume", "save_minutes", "logger")


def check_training(cfg: DictConfig) -> None:
    """Raises RefusedError if the config can't be trained. With `rerun`, replaces it by that run's config first."""
    check_keys(cfg)
    plain = resolved(cfg)
    for key in (key for key in Switches.__annotations__ if key not in plain):
        raise refusal(key, "", "is missing; expected a value, or null")
    if plain["rerun"] is not None:
        _adopt_config(cfg, str(plain["rerun"]))
    check_name(plain["name"])
    plain = check_config(cfg, writes=cfg.rerun is None)  # a rerun writes only into its own folder
    check_monitor(plain)
    check_limits(plain)
    if cfg.init_from:
        open_run(cfg.init_from, key="init_from")[0].checkpoint("best")
    if cfg.folds:
        check_folds(cfg)
    if cfg.name and rank() == 0:  # other ranks find the folder locked by rank 0
        run = RunFolder(RUNS / cfg.name)
        check_is_set(cfg, run)
        for fold in folds_of(run):
            _check_resumed(config_of_fold(cfg, int(fold.path.name.removeprefix("fold_"))), fold)
        if not cfg.folds:
            _check_resumed(cfg, run)


def _check_resumed(cfg: DictConfig, run: RunFolder) -> None:
    """Raises RefusedError if another process trains in the folder, or a run would resume with another config."""
    check_folder(run.path)
    check_unlocked(run)
    if not run.begun and any(run.checkpoints.glob("*.ckpt")):
        raise refusal("name", cfg.name, f"{run.path.as_posix()} has checkpoints but no config.yaml; choose another")
    if cfg.resume != "exact" or not run.begun:
        return
    saved = open_run(str(run.path), key="name")[1]
    before, now = (dict(leaves(resolved(each))) for each in (saved, cfg))
    for key in [*now, *(key for key in before if key not in now)]:
        if now.get(key) != before.get(key) and not f"{key}.".startswith(tuple(f"{name}." for name in HARMLESS)):
            was = f"was begun with {before[key]}" if key in before else "was begun without it"
            reason = f"{run.path.as_posix()} {was}, so it can't resume exactly; resume=inexact resumes anyway"
            raise refusal(key, now.get(key, "absent"), reason)


def _adopt_config(cfg: DictConfig, rerun: str) -> None:
    """Replace the composed config by that of the finished run `rerun`."""
    for text, key in overrides():
        if key not in WITH_RERUN:
            raise RefusedError(f"{text}: a rerun trains the same again; beside it only name= can be given")
    run, saved = open_run(rerun, key="rerun")
    if not run.finished:
        raise refusal("rerun", rerun, f"has not finished; name={run.name} resumes it")
    check_saved(saved, run, Place.RERUN)
    with open_dict(cfg):
        for key in [key for key in map(str, cfg) if key not in WITH_RERUN]:
            del cfg[key]
        cfg.update({key: saved._get_node(key) for key in map(str, saved) if key not in WITH_RERUN})
