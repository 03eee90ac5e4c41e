"""What the commands are told of runs.

evaluate.py and predict.py: a finished run, one of its checkpoints, and what is changed of it. train.py: a new run, an
unfinished one to go on with, or a finished one to train again.
"""

import ast
import copy
import re
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from ..errors import RefusedError, refusal
from ..run_folder.folder import RUNS, RunFolder, check_unlocked, folds_of, open_run, overrides, rank
from ..run_folder.plain import check_folder
from .check import (
    check_config,
    check_keys,
    check_name,
    check_writable,
    good_name,
    known_keys,
    leaves,
    resolved,
)
from .gate import Place, allowed, check_targets
from .limits import check_limits
from .monitor import check_monitor
from .sources import PACKAGE, line_of, lineage, member, signature

# What may be changed of a finished run; a model or a seed belongs to its training.
CHANGEABLE = ("datamodule", "trainer", "callbacks")
# Of the Trainer of a finished run what decides its numbers and its speed; the rest belongs to its training.
EVALUATION = (
    "accelerator", "benchmark", "detect_anomaly", "deterministic", "enable_progress_bar", "inference_mode",
    "limit_predict_batches", "limit_test_batches", "precision", "use_distributed_sampler",
)  # fmt: skip
# Arguments that say where something is written.
WRITTEN = re.compile(r"(dir|file|folder|output|path|root)s?(\[\d+\])*$")
# Arguments of a datamodule by which a training divides its data, or takes its part of it.
DIVIDING = ("split_seed", "val_fraction", "test_fraction", "folds", "fold", "groups", "stride")
SPLITTING = tuple(f"datamodule.{name}" for name in DIVIDING)
# Of code, configs and checkpoints.
NOT_PREDICTIONS = (".py", ".ipynb", ".yaml", ".yml", ".toml", ".md", ".ckpt")
# What ModelCheckpoint fills in a name: a width of millions would take all memory.
FIELD = re.compile(r"\{[A-Za-z][\w/]*(:\d{0,2}(\.\d{1,2})?[a-z]?)?\}")
OWN_KEYS = ("run", "checkpoint", "input", "output")


class ChosenRun(NamedTuple):
    """A run folder, its config with the `changes` of the command line in it, and one of its checkpoints.

    Of a set of folds it is a checkpoint of each, and the config of the first.
    """

    folder: RunFolder
    cfg: DictConfig
    checkpoints: list[Path]
    changes: list[str]


def choose_run(cfg: DictConfig) -> ChosenRun:
    """What `run`, `checkpoint` and the other keys of the composed `cfg` mean. No torch, no work.

    Raises RefusedError where the run or the checkpoint is not there, its config names what it may not (a run folder may
    come from anywhere), or an override concerns the training.
    """
    check_keys(cfg, known_keys())
    options = {key: "???" if OmegaConf.is_missing(cfg, key) else cfg[key] for key in map(str, cfg) if key in OWN_KEYS}
    folder = RunFolder(Path(str(options["run"])))
    runs = finished_runs(folder)
    saved = runs[0][1]
    changes = [word for word in overrides() if word.lstrip("+~").split("=")[0] not in OWN_KEYS]
    for word in changes:
        if not word.lstrip("+~").startswith(CHANGEABLE):
            raise RefusedError(f"{word}: of a finished run only {', '.join(CHANGEABLE)} can be changed")
        if "input" not in options and (key := word.lstrip("+~").split("=")[0]) in SPLITTING:
            why = "the run's own data keeps its split, other data (datamodule.root=…) is measured whole; leave it out"
            raise RefusedError(f"{word}: {why}", key)
    saved = _changed(for_evaluation(saved, cfg), cfg, changes)
    check_config(saved, reads_data="input" not in options)
    if "input" in options:
        _check_use(saved, options)
    elif saved.trainer.get("limit_test_batches") == 0:
        raise refusal("trainer.limit_test_batches", saved.trainer.limit_test_batches, "nothing would be measured")
    return ChosenRun(folder, saved, [run.checkpoint(str(options["checkpoint"])) for run, _ in runs], changes)


def for_evaluation(saved: DictConfig, composed: DictConfig) -> DictConfig:
    """The config of a finished run for evaluation and prediction: its model and its datamodule, and a Trainer for them.

    A run folder may be a stranger's: its callbacks, loggers, profiler and plugins are not built. What draws plots are
    this project's callbacks as the `composed` config, the user's own, has them.
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
    """Raises RefusedError where predict.py can't read `input` or may not write to `output`."""
    source = str(options["input"])
    if not (_exists(source) or _said(saved, "input_is_text")):
        example = _said(saved, "input_example")
        raise refusal("input", source, "no such file or folder" + (f"; expected {example}" if example else ""))
    if options.get("output") is None:
        return
    output, folder_wanted = Path(str(options["output"])), bool(_said(saved, "output_is_folder"))
    if output.exists() and output.is_dir() != folder_wanted:
        kinds = ("a file", "a folder") if folder_wanted else ("a folder", "a file")
        raise refusal("output", output, f"is {kinds[0]}; expected the name of {kinds[1]}")
    suffixes = _said(saved, "output_suffixes")
    if suffixes and output.suffix.lower() not in suffixes.split():
        raise refusal("output", output, f"expected a {suffixes.replace(' ', ', ')} file")
    check_output(output, source, saved)
    check_writable("output", output.parent)


def check_output(output: Path, source: str, saved: DictConfig, one_of_many: bool = False) -> None:
    """Raises RefusedError where a prediction would replace an input, data, a record of a run, or code.

    And where it is `one_of_many` files that would be read as inputs or data the next time, or lie beside the input.
    """
    file = output.resolve()
    if not (one_of_many or file.is_file()):
        return
    run = next((each for each in file.parents if _is_run(each)), None)
    around = () if run is None else (run, *run.parents)  # to read in these is not to read what lies in a run
    places = (each for each in _read_places(source, saved) if each.resolve() not in around)
    place, why = next((each for each in places if _holds(each, file)), None), None
    if place is not None:
        why = f"{'lies in' if place.is_dir() else 'is'} {place.as_posix()}, which is read"
    elif one_of_many and _exists(source) and Path(source).is_file() and Path(source).resolve().parent == file.parent:
        why = "lies beside the input, as another one"
    elif run is not None and file.relative_to(run).parts[0] != "predictions":
        why = f"belongs to the run {run.name}"
    elif file.suffix.lower() in NOT_PREDICTIONS:
        why = "is no prediction"
    if why:
        raise refusal("output", output, f"{why}, and is not overwritten; choose another output=")


def _read_places(source: str, saved: DictConfig) -> list[Path]:
    """The files and folders that the input and the run's data are read from."""
    words = [source, *(value for _, value in leaves(resolved(saved)["datamodule"]) if isinstance(value, str))]
    return [Path(word) for word in words if word and _exists(word)]


def _is_run(folder: Path) -> bool:
    """Whether a run, or a set of folds, has left its record in the folder."""
    return any((folder / name).is_file() for name in ("provenance.json", "folds.json"))


def _holds(place: Path, file: Path) -> bool:
    """Whether `file` is `place`, or a file below the folder `place`, by whatever path or link."""
    if not place.is_dir():
        return file.exists() and place.samefile(file)
    linked = file.exists() and file.stat().st_nlink > 1
    linked = linked and any(each.is_file() and each.samefile(file) for each in place.rglob("*"))
    return place.resolve() in file.parents or linked


def finished_runs(folder: RunFolder) -> list[tuple[RunFolder, DictConfig]]:
    """The run with its config, or those of a set of folds. Raises RefusedError where it can't be run as it is."""
    folds = folds_of(folder)
    if folds and not folder.folds.is_file():
        raise refusal("run", folder.path.as_posix(), f"has not finished; train.py name={folder.name} folds=… goes on")
    check_folder(folder.path)
    opened = [open_run(str(run.path)) for run in folds or [folder]]
    for run, saved in opened:
        check_saved(saved, run)
    return opened


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long a name, or none: words
        return False


def _said(saved: DictConfig, name: str) -> Any:
    """The constant that the class of the datamodule has as `name`; None where it has none.

    `input_is_text`: what `input` says need not be a file; `output_is_folder`: what `output` names is a folder;
    `output_suffixes`: how a file that `output` names may end; `input_example`: a value of `input`.
    """
    said = member(allowed(saved.datamodule._target_), name)
    return said.node.value if said is not None and isinstance(said.node, ast.Constant) else None


def check_saved(saved: DictConfig, folder: RunFolder, place: Place = Place.OWN) -> None:
    """Raises RefusedError, with file and line, where the config of a run folder, maybe a stranger's, can't be run.

    At the `place` of a rerun its Trainer and callbacks are built, so they have to be of those that a stranger may name.
    """
    try:
        check_config(saved, reads_data=False)
        _check_paths(saved)
        for group in ("trainer", "callbacks"):
            check_targets(group, resolved(saved).get(group), place)
        if place is Place.RERUN and saved.trainer.get("model_registry") is not None:
            raise refusal("trainer.model_registry", saved.trainer.model_registry, "a rerun uploads nothing")
    except RefusedError as error:
        line = line_of(error.key, folder.config) if error.key else None
        raise RefusedError(f"{error} ({folder.config.as_posix()}{f':{line}' if line else ''})") from error


def _check_paths(saved: DictConfig) -> None:
    """Raises RefusedError for a path by which a callback or the Trainer would write outside the run folder.

    The loggers of a saved config are never built: their part in it is not looked at.
    """
    plain = resolved(saved)
    name = str(plain.get("name"))
    for key, value in leaves(plain):
        if not isinstance(value, str) or not key.startswith(("trainer.", "callbacks.")):
            continue
        path, windows = Path(value), PureWindowsPath(value)
        within = good_name(name) and RUNS / name in (path, *path.parents)
        folder = WRITTEN.search(key.rpartition(".")[2]) and not within
        elsewhere = path.is_absolute() or windows.anchor or "://" in value or value.startswith("~")
        if folder or elsewhere or ".." in (*path.parts, *windows.parts):
            raise refusal(key, value, "leads out of the run folder; a config that came from elsewhere may not do that")


def _changed(saved: DictConfig, composed: DictConfig, changes: list[str]) -> DictConfig:
    """The saved config of a run with what the command line names: `datamodule=image_folder`, `trainer.devices=2`.

    Each named key is taken from `composed`, the config that Hydra made of today's files and that command line.
    """
    with open_dict(saved):
        for override in OverridesParser.create().parse_overrides(changes):
            key = override.key_or_group.replace("/", ".")
            value = None if override.is_delete() else OmegaConf.select(composed, key)
            OmegaConf.update(saved, key, value, merge=False)
    return saved


# What may be changed of a run that goes on, and it ends in the same bits.
HARMLESS = (
    "resume", "save_minutes", "logger", "datamodule.num_workers", "trainer.enable_progress_bar",
    "trainer.enable_model_summary", "trainer.detect_anomaly",
)  # fmt: skip
SWITCHES = ("name", "seed", "save_minutes", "resume", "rerun", "init_from", "folds", "monitor", "mode")
WITH_RERUN = ("rerun", "name", "resume", "save_minutes", "logger")


def check_training(cfg: DictConfig) -> None:
    """Raises RefusedError where the composed config can't be trained; with `rerun` it becomes that run's config."""
    check_keys(cfg, known_keys())
    plain = resolved(cfg)
    for key in (key for key in SWITCHES if key not in plain):
        raise refusal(key, "", "has to be there, if only as null")
    if plain["rerun"] is not None:
        _take_over(cfg, str(plain["rerun"]))
    check_name(plain["name"])
    check_config(cfg, writes=cfg.rerun is None)  # a rerun writes into its own folder alone
    check_monitor(resolved(cfg))
    _check_sense(cfg)
    if cfg.init_from:
        open_run(cfg.init_from, key="init_from")[0].checkpoint("best")
    if cfg.folds:
        _check_folds(cfg)
    if cfg.name and rank() == 0:  # the processes of other ranks come to a folder that is held for them
        run = RunFolder(RUNS / cfg.name)
        begun = folds_of(run)
        if (cfg.folds and run.config.is_file()) or (begun and not cfg.folds):
            is_a = "a run, not a set of folds" if cfg.folds else f"a set of folds: folds={len(begun)} goes on"
            raise refusal("name", cfg.name, f"{run.path.as_posix()} is {is_a}, or choose another name=")
        for fold in begun:
            _check_continued(config_of_fold(cfg, int(fold.path.name.removeprefix("fold_"))), fold)
        if not cfg.folds:
            _check_continued(cfg, run)


def config_of_fold(cfg: DictConfig, number: int) -> DictConfig:
    """The config of one run of a set of `cfg.folds`, numbered from 1."""
    fold = copy.deepcopy(cfg)
    with open_dict(fold):
        fold.update({"name": f"{cfg.name}/fold_{number}", "folds": None})
        fold.datamodule.update({"folds": cfg.folds, "fold": number})
    return fold


def _check_folds(cfg: DictConfig) -> None:
    """Raises RefusedError where the datamodule takes no folds, or the config says which."""
    takes = signature(allowed(cfg.datamodule._target_))
    if takes and not takes.open and not {"folds", "fold"} <= takes.parameters.keys():
        name = cfg.datamodule._target_.rpartition(".")[2]
        raise refusal("folds", cfg.folds, f"{name} takes none (the arguments `folds` and `fold`)")
    for key in ("folds", "fold"):
        if cfg.datamodule.get(key) is not None:
            raise refusal(f"datamodule.{key}", cfg.datamodule[key], "is given by folds=; leave out one of both")
    if cfg.rerun:
        raise refusal("folds", cfg.folds, "a rerun trains one run again: rerun=runs/<set>/fold_1")


def _check_sense(cfg: DictConfig) -> None:
    """Raises RefusedError for what the Trainer and ModelCheckpoint would do, and a run folder can't hold."""
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
    """Raises RefusedError where best.ckpt would not be the best of what the run monitors."""
    if node.get("save_top_k", 1) not in (0, 1):
        why = "best.ckpt would not be the best; with a filename of its own for each"
        raise refusal(f"{key}.save_top_k", node.save_top_k, f"{why}: {key}.filename=…")
    if node.get("monitor") != monitor:
        why = f"best.ckpt is the best {monitor}, which monitor=… changes; else {key}.filename=…"
        raise refusal(f"{key}.monitor", node.get("monitor", ""), why)


def _steps_by_itself(target: str) -> bool:
    """Whether a model of this package turns automatic optimization off."""
    classes = (each for each in lineage(allowed(target)) if each.module.name.startswith(f"{PACKAGE}."))
    return any("self.automatic_optimization = False" in ast.unparse(each.node) for each in classes if each.node)


def _check_continued(cfg: DictConfig, run: RunFolder) -> None:
    """That no other process trains in the folder, and that a run goes on as it began."""
    check_folder(run.path)
    check_unlocked(run)
    if not run.config.is_file() and any(run.best.parent.glob("*.ckpt")):
        raise refusal("name", cfg.name, f"{run.path.as_posix()} has checkpoints but no config.yaml; choose another")
    if cfg.resume != "exact" or not run.config.is_file():
        return
    saved = open_run(str(run.path), key="name")[1]
    began, now = (dict(leaves(resolved(each))) for each in (saved, cfg))
    for key in [*now, *(key for key in began if key not in now)]:
        if now.get(key) != began.get(key) and not f"{key}.".startswith(tuple(f"{name}." for name in HARMLESS)):
            was = f"was begun with {began[key]}" if key in began else "was begun without it"
            why = f"{run.path.as_posix()} {was}, so it can't go on exactly; resume=inexact goes on anyway"
            raise refusal(key, now.get(key, "absent"), why)


def _take_over(cfg: DictConfig, rerun: str) -> None:
    """Put the config of the finished run `rerun` in place of the composed one."""
    for word in overrides():
        if word.lstrip("+~").split("=")[0] not in WITH_RERUN:
            raise RefusedError(f"{word}: a rerun trains the same again; beside it only name= can be given")
    run, saved = open_run(rerun, key="rerun")
    if not run.metrics.is_file():
        raise refusal("rerun", rerun, f"has not finished; name={run.name} goes on with it")
    check_saved(saved, run, Place.RERUN)
    with open_dict(cfg):
        for key in [key for key in map(str, cfg) if key not in WITH_RERUN]:
            del cfg[key]
        cfg.update({key: saved._get_node(key) for key in map(str, saved) if key not in WITH_RERUN})
