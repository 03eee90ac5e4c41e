"""Check the request of a command line: a training, or a finished run to evaluate or predict with."""

import ast
import re
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from ..config.check import check_config, check_keys, known_keys
from ..config.files import Override, overrides
from ..config.limits import check_limits
from ..config.modules import PACKAGE, lineage, member
from ..config.monitor import check_monitor
from ..config.switches import Switches
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
EVALUATION = (
    "accelerator", "benchmark", "detect_anomaly", "deterministic", "enable_progress_bar", "inference_mode",
    "limit_predict_batches", "limit_test_batches", "precision", "use_distributed_sampler",
)  # fmt: skip
# Arguments of a datamodule that define its split, or the samples taken from it.
DIVIDING = ("split_seed", "val_fraction", "test_fraction", "folds", "fold", "groups", "stride")
SPLITTING = tuple(f"datamodule.{name}" for name in DIVIDING)
# A field that ModelCheckpoint fills in. Its width is limited: one of millions would exhaust memory.
FIELD = re.compile(r"\{[A-Za-z][\w/]*(:\d{0,2}(\.\d{1,2})?[a-z]?)?\}")
OWN_KEYS = ("run", "checkpoint", "input", "output")


def choose_run(cfg: DictConfig) -> ChosenRun:
    """Resolve `run`, `checkpoint` and the other keys of the composed `cfg` to a ChosenRun. No torch, no work.

    Raises RefusedError if the run or the checkpoint does not exist, if the run's config, which is untrusted, names a
    target that is not allowed, or if an override belongs to the training.
    """
    check_keys(cfg, known_keys())
    options = {key: "???" if OmegaConf.is_missing(cfg, key) else cfg[key] for key in map(str, cfg) if key in OWN_KEYS}
    folder = RunFolder(Path(str(options["run"])))
    runs = finished_runs(folder)
    saved = runs[0][1]
    changes = [override for override in overrides() if override.key not in OWN_KEYS]
    for text, key in changes:
        if not key.startswith(CHANGEABLE):
            raise RefusedError(f"{text}: of a finished run only {', '.join(CHANGEABLE)} can be changed")
        if "input" not in options and key in SPLITTING:
            why = "the run's own data keeps its split, other data (datamodule.root=…) is measured whole; leave it out"
            raise RefusedError(f"{text}: {why}", key)
    saved = _changed(for_evaluation(saved, cfg), cfg, changes)
    check_config(saved, reads_data="input" not in options)
    if "input" in options:
        _check_use(saved, options)
    elif saved.trainer.get("limit_test_batches") == 0:
        raise refusal("trainer.limit_test_batches", saved.trainer.limit_test_batches, "nothing would be measured")
    checkpoint, output = str(options["checkpoint"]), options.get("output")
    return ChosenRun(
        folder, saved, [run.checkpoint(checkpoint) for run, _ in runs], checkpoint,
        changes=[override.text for override in changes],
        other_data=any(override.key.startswith("datamodule") for override in changes),
        input=str(options.get("input", "")), output=None if output is None else Path(str(output)),
    )  # fmt: skip


def for_evaluation(saved: DictConfig, composed: DictConfig) -> DictConfig:
    """Reduce the config of a finished run to its model, its datamodule and a Trainer, for evaluation and prediction.

    A run folder is untrusted: its callbacks, loggers, profiler and plugins are not built. The callbacks, which draw
    plots, are this project's own from `composed`, the user's config.
    """
    values = {key: saved.trainer[key] for key in EVALUATION if key in saved.trainer}
    plain = {key: value for key, value in values.items() if not OmegaConf.is_config(value)}
    callbacks = resolved(composed.callbacks) if composed.get("callbacks") else {}
    own = {key: node for key, node in callbacks.items() if str(node.get("_target_")).startswith(f"{PACKAGE}.")}
    with open_dict(saved):
        saved.trainer = {"_target_": "pytorch_lightning.Trainer", **plain, "devices": 1}
        saved.callbacks, saved.logger = own, None
    return saved


def _check_use(saved: DictConfig, options: dict[str, Any]) -> None:
    """Raises RefusedError if predict.py can't read `input` or must not write to `output`."""
    source = str(options["input"])
    if not (exists(source) or _said(saved, "input_is_text")):
        example = _said(saved, "input_example")
        raise refusal("input", source, "no such file or folder" + (f"; expected {example}" if example else ""))
    if options.get("output") is None:
        return
    output, folder_wanted = Path(str(options["output"])), bool(_said(saved, "output_is_folder"))
    if output.exists() and output.is_dir() != folder_wanted:
        kinds = ("a file", "a folder") if folder_wanted else ("a folder", "a file")
        raise refusal("output", output, f"is {kinds[0]}; expected the name of {kinds[1]}")
    suffixes = _said(saved, "output_suffixes")
    if suffixes and output.suffix and output.suffix.lower() not in suffixes.split():
        raise refusal("output", output, f"expected a {suffixes.replace(' ', ', ')} file")
    check_output(output, source, saved)
    check_writable("output", output.parent)


def _said(saved: DictConfig, name: str) -> Any:
    """Return the class attribute `name` of the datamodule; None if it has none.

    `input_is_text`: `input` need not be a file; `output_is_folder`: `output` is a folder; `output_suffixes`: file
    extensions allowed for `output`; `input_example`: an example of `input`.
    """
    said = member(allowed(saved.datamodule._target_), name)
    return said.node.value if said is not None and isinstance(said.node, ast.Constant) else None


def _changed(saved: DictConfig, composed: DictConfig, changes: list[Override]) -> DictConfig:
    """Apply the overrides `changes`, such as `datamodule=image_folder`, to the saved config of a run.

    The value of each overridden key comes from `composed`, the config that Hydra composed from today's files.
    """
    with open_dict(saved):
        for override in OverridesParser.create().parse_overrides([each.text for each in changes]):
            key = override.key_or_group.replace("/", ".")
            value = None if override.is_delete() else OmegaConf.select(composed, key)
            OmegaConf.update(saved, key, value, merge=False)
    return saved


# Keys that may change in a resumed run without changing its result.
HARMLESS = (
    "resume", "save_minutes", "logger", "datamodule.num_workers", "trainer.enable_progress_bar",
    "trainer.enable_model_summary", "trainer.detect_anomaly",
)  # fmt: skip
WITH_RERUN = ("rerun", "name", "resume", "save_minutes", "logger")


def check_training(cfg: DictConfig) -> None:
    """Raises RefusedError if the config can't be trained. With `rerun`, replaces it by that run's config first."""
    check_keys(cfg, known_keys())
    plain = resolved(cfg)
    for key in (key for key in Switches.__annotations__ if key not in plain):
        raise refusal(key, "", "has to be there, if only as null")
    if plain["rerun"] is not None:
        _take_over(cfg, str(plain["rerun"]))
    check_name(plain["name"])
    check_config(cfg, writes=cfg.rerun is None)  # a rerun writes only into its own folder
    check_monitor(resolved(cfg))
    _check_sense(cfg)
    if cfg.init_from:
        open_run(cfg.init_from, key="init_from")[0].checkpoint("best")
    if cfg.folds:
        check_folds(cfg)
    if cfg.name and rank() == 0:  # other ranks find the folder locked by rank 0
        run = RunFolder(RUNS / cfg.name)
        check_is_set(cfg, run)
        for fold in folds_of(run):
            _check_continued(config_of_fold(cfg, int(fold.path.name.removeprefix("fold_"))), fold)
        if not cfg.folds:
            _check_continued(cfg, run)


def _check_sense(cfg: DictConfig) -> None:
    """Raises RefusedError if arguments of the Trainer or ModelCheckpoint do not fit a run folder, or train nothing."""
    trainer = cfg.trainer
    check_limits(resolved(cfg))
    if trainer.get("fast_dev_run"):
        raise refusal("trainer.fast_dev_run", trainer.fast_dev_run, "leaves no run; trainer=debug does a few batches")
    for key in ("max_epochs", "max_steps", "limit_train_batches"):
        if trainer.get(key) == 0:
            raise refusal(f"trainer.{key}", 0, "nothing would be trained")
    for key, common in {"gradient_clip_val": (None,), "accumulate_grad_batches": (None, 1)}.items():
        if trainer.get(key) not in common and _steps_by_itself(cfg.model._target_):
            why = f"{cfg.model._target_.rpartition('.')[2]} steps its optimizers itself, and has to do that there"
            raise refusal(f"trainer.{key}", trainer[key], why)
    for name, node in (cfg.get("callbacks") or {}).items():
        if node.get("save_last"):
            raise refusal(f"callbacks.{name}.save_last", node.save_last, "last.ckpt is always written: save_minutes=…")
        if {"{", "}"}.intersection(FIELD.sub("", str(node.get("filename")))):
            why = "expected text with the names of metrics, such as {epoch} or {val/loss:.3f}"
            raise refusal(f"callbacks.{name}.filename", node.filename, why)
        if {"/", "\\"}.intersection(FIELD.sub("", str(node.get("filename")))):
            raise refusal(f"callbacks.{name}.filename", node.filename, "expected a file name, without a folder")
        if node.get("filename") in ("last", "previous"):
            raise refusal(f"callbacks.{name}.filename", node.filename, "is the engine's own; expected another")
        if node.get("filename") == "best":
            _check_best(f"callbacks.{name}", node, cfg.monitor)


def _check_best(key: str, node: DictConfig, monitor: str) -> None:
    """Raises RefusedError if best.ckpt would not be the best checkpoint by `monitor`."""
    if node.get("save_top_k", 1) not in (0, 1):
        why = "best.ckpt would not be the best; with a filename of its own for each"
        raise refusal(f"{key}.save_top_k", node.save_top_k, f"{why}: {key}.filename=…")
    if node.get("monitor") != monitor:
        why = f"best.ckpt is the best {monitor}, which monitor=… changes; else {key}.filename=…"
        raise refusal(f"{key}.monitor", node.get("monitor", ""), why)


def _steps_by_itself(target: str) -> bool:
    """Return True if a model of this package turns automatic optimization off."""
    classes = (each for each in lineage(allowed(target)) if each.module.name.startswith(f"{PACKAGE}."))
    return any("self.automatic_optimization = False" in ast.unparse(each.node) for each in classes if each.node)


def _check_continued(cfg: DictConfig, run: RunFolder) -> None:
    """Raises RefusedError if another process trains in the folder, or a run would resume with another config."""
    check_folder(run.path)
    check_unlocked(run)
    if not run.begun and any(run.checkpoints.glob("*.ckpt")):
        raise refusal("name", cfg.name, f"{run.path.as_posix()} has checkpoints but no config.yaml; choose another")
    if cfg.resume != "exact" or not run.begun:
        return
    saved = open_run(str(run.path), key="name")[1]
    began, now = (dict(leaves(resolved(each))) for each in (saved, cfg))
    for key in [*now, *(key for key in began if key not in now)]:
        if now.get(key) != began.get(key) and not f"{key}.".startswith(tuple(f"{name}." for name in HARMLESS)):
            was = f"was begun with {began[key]}" if key in began else "was begun without it"
            why = f"{run.path.as_posix()} {was}, so it can't resume exactly; resume=inexact resumes anyway"
            raise refusal(key, now.get(key, "absent"), why)


def _take_over(cfg: DictConfig, rerun: str) -> None:
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
