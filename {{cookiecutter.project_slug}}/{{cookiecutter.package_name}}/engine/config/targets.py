"""The allowlist: classes and functions that a config may name as a `_target_`. Reads source code, imports nothing."""

import ast
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, TypeVar

from ..errors import refusal
from .modules import PACKAGE, Definition, Module, locate, lookup, read_module
from .tree import all_nodes

# Classes and packages that any config may use, besides this package's own, even the config of an untrusted run. They
# only compute: none of them writes a file, starts a program, downloads or unpickles. Add what your models need, as
# narrowly as you can.
# Left out: torch.utils.data, since some datapipes unpickle files, and torchmetrics' image, text, audio and multimodal,
# since some download weights.
ALLOWED_TARGETS = (
    "kornia.augmentation", "torch.nn", "torch.optim", "torchmetrics.aggregation", "torchmetrics.classification",
    "torchmetrics.clustering", "torchmetrics.collections", "torchmetrics.nominal", "torchmetrics.regression",
    "torchmetrics.retrieval", "torchmetrics.segmentation",
)  # fmt: skip

# Left out of these: it downloads a model, with any argument of the function that loads it.
REFUSED_MODULES = ("kornia.augmentation._2d.intensity.dissolving",)

_CALLBACKS = (
    "BackboneFinetuning", "BatchSizeFinder", "DeviceStatsMonitor", "EarlyStopping", "EMAWeightAveraging",
    "GradientAccumulationScheduler", "LearningRateFinder", "LearningRateMonitor", "ModelCheckpoint", "ModelSummary",
    "StochasticWeightAveraging", "Timer", "TQDMProgressBar", "WeightAveraging",
)  # fmt: skip
# Also allowed in `trainer` and `callbacks`, even of a run that rerun=… trains again: they write only into the run
# folder.
TRAINING_TARGETS = (
    "datetime.timedelta",
    "pytorch_lightning.Trainer",
    *(f"pytorch_lightning.callbacks.{name}" for name in _CALLBACKS),
)

# Only allowed in `trainer`, `callbacks` and `logger` of your own configs: they write, start or call their arguments.
OWN_TARGETS = tuple(
    f"{package}.{name}"
    for package, names in {
        "pytorch_lightning.callbacks": (
            "LambdaCallback", "ModelPruning", "OnExceptionCheckpoint", "RichModelSummary", "RichProgressBar",
            "SpikeDetection", "ThroughputMonitor",
        ),
        "pytorch_lightning.loggers": (
            "CometLogger", "CSVLogger", "LitLogger", "MLFlowLogger", "TensorBoardLogger", "WandbLogger",
        ),
        "pytorch_lightning.plugins": (
            "AsyncCheckpointIO", "BitsandbytesPrecision", "DeepSpeedPrecision", "DoublePrecision", "FSDPPrecision",
            "HalfPrecision", "MixedPrecision", "TorchSyncBatchNorm", "TransformerEnginePrecision", "XLAPrecision",
        ),
        "pytorch_lightning.profilers": (
            "AdvancedProfiler", "PassThroughProfiler", "PyTorchProfiler", "SimpleProfiler", "XLAProfiler",
        ),
        "pytorch_lightning.strategies": (
            "DDPStrategy", "DeepSpeedStrategy", "FSDPStrategy", "ModelParallelStrategy", "SingleDeviceStrategy",
            "SingleDeviceXLAStrategy", "XLAStrategy",
        ),
        "lightning_fabric.plugins": (
            "KubeflowEnvironment", "LightningEnvironment", "LSFEnvironment", "MPIEnvironment", "SLURMEnvironment",
            "TorchCheckpointIO", "TorchElasticEnvironment", "XLACheckpointIO", "XLAEnvironment",
        ),
    }.items()
    for name in names
)  # fmt: skip

T = TypeVar("T")


def target(definition: T) -> T:
    """Allow configs to name a function, or a class without a base from torch, as a `_target_`.

    Any config, even an untrusted one, can then call it with any arguments.
    """
    return definition


class Place(IntEnum):
    """The place of a `_target_`: any config, one trained by rerun=, or your own. Each includes those before it."""

    ANY = 0
    RERUN = 1
    OWN = 2


Names = dict[Place, tuple[str, ...]]
LISTED: Names = {Place.ANY: ALLOWED_TARGETS, Place.RERUN: TRAINING_TARGETS, Place.OWN: OWN_TARGETS}
# Classes of this package are allowed by their bases.
BASES: Names = {
    Place.ANY: (
        *ALLOWED_TARGETS, "torch", "torchmetrics", "pytorch_lightning.LightningDataModule",
        "pytorch_lightning.LightningModule",
    ),
    Place.RERUN: ("pytorch_lightning.Callback", "pytorch_lightning.callbacks"),
    Place.OWN: ("lightning_fabric", "pytorch_lightning"),
}  # fmt: skip
ROOTS = {PACKAGE, *(name.partition(".")[0] for names in LISTED.values() for name in names)}


def allowed(target: Any, key: str = "_target_", place: Place = Place.ANY) -> Definition:
    """Return the definition of a `_target_`. Raises RefusedError if it does not exist, or is not allowed at `place`.

    Other packages: the classes listed above, never functions, since some run their arguments (torch.load). This
    package, except the engine: classes by their bases, and anything marked with @target.
    """
    if not isinstance(target, str):
        raise refusal(key, target, "expected the dotted name of a class")
    listed = f"{', '.join(ALLOWED_TARGETS)} (ALLOWED_TARGETS in {PACKAGE}/engine/config/targets.py)"
    rule = f"a config may name {PACKAGE}, {listed}"
    parts = target.split(".")
    private = any(part.startswith("_") for part in parts) and parts[0] != PACKAGE
    if parts[0] not in ROOTS or private or not all(part.isidentifier() for part in parts):
        raise refusal(key, target, f"not allowed; {rule}")
    definition = locate(target)
    if isinstance(definition, str):
        raise refusal(key, target, definition, _neighbours(target), target)
    node, home = definition.node, definition.module.name
    own = home.partition(".")[0] == PACKAGE
    if own and home.split(".")[1:2] in ([], ["engine"]):
        raise refusal(key, target, f"not allowed: it comes from {home}; {rule}")
    if not isinstance(node, ast.ClassDef) and not (own and isinstance(node, ast.FunctionDef)):
        raise refusal(key, target, "not allowed: expected a class" + (" or a function" if own else ""))
    first_place = _place_of_own(definition) if own else _place_in(LISTED, f"{home}.{node.name}")
    if first_place is not None and first_place <= place:
        return definition
    if own:
        kind = "a function" if first_place is None else "no part of a model or of data by its base"
        reason = f"not allowed here: it is {kind}, and an untrusted config could call it too"
        raise refusal(key, target, f"{reason}; put @target (from {PACKAGE}.engine import target) above it if it may")
    if first_place is None:
        raise refusal(key, target, f"not allowed: it comes from {home}; {rule}")
    groups = "your own trainer, callbacks and logger" if first_place is Place.OWN else "trainer and callbacks"
    raise refusal(key, target, f"not allowed here: it may be named in {groups} alone")


def _place_in(names: Names, target: str) -> Place | None:
    """Return the first place that lists this class: by its path, by its name within a package, or by its package."""
    home, _, name = target.rpartition(".")
    if home in REFUSED_MODULES:
        return None
    for place, entries in names.items():
        for entry in entries:
            package, _, last = entry.rpartition(".")
            if f"{target}.".startswith(f"{entry}.") or (last == name and f"{home}.".startswith(f"{package}.")):
                return place
    return None


def _place_of_own(definition: Definition) -> Place | None:
    """Return the first place where a definition of this package is allowed; None for a function without @target."""
    if isinstance(definition.node, ast.ClassDef | ast.FunctionDef) and _is_marked(definition.node, definition.module):
        return Place.ANY
    places = [place for base in _bases(definition) if (place := _place_in(BASES, base)) is not None]
    plain = Place.OWN if isinstance(definition.node, ast.ClassDef) else None
    return max(places, default=plain)  # a Module that is also a Callback counts as a Callback


def _is_marked(node: ast.ClassDef | ast.FunctionDef, module: Module) -> bool:
    """Return True for a definition below `@target`."""
    names = [decorator.id for decorator in node.decorator_list if isinstance(decorator, ast.Name)]
    marks = [mark for name in names if (mark := lookup(module, name))]
    return any(mark.module.name == __name__ and getattr(mark.node, "name", "") == "target" for mark in marks)


def _bases(definition: Definition, depth: int = 0) -> Iterator[str]:
    """Yield the full names of the bases in other packages, at any depth: `torch.nn.Module` for `nn.Module`."""
    for base in definition.node.bases if isinstance(definition.node, ast.ClassDef) and depth < 20 else ():
        name = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
        first, _, rest = name.partition(".")
        origin = definition.module.names.get(first)
        if isinstance(origin, ast.alias):
            source = origin.name.replace(":", ".") if origin.asname or ":" in origin.name else first
            name = f"{source}.{rest}".rstrip(".")
        inner = Definition(definition.module, origin) if isinstance(origin, ast.ClassDef) else ""
        inner = locate(name) if name.startswith(f"{PACKAGE}.") else inner
        if isinstance(inner, Definition):
            yield from _bases(inner, depth + 1)
        else:
            yield name


def _neighbours(target: str) -> list[str]:
    """List targets that differ from this one in the last name or the last but one, as suggestions."""
    home, _, name = target.rpartition(".")
    parent = home.rpartition(".")[0]
    if module := read_module(home):
        return [f"{home}.{each}" for each in module.names]
    package = read_module(parent)
    return [f"{parent}.{file.stem}.{name}" for file in package.path.parent.iterdir()] if package else []


def check_targets(key: str, value: Any, place: Place = Place.ANY) -> None:
    """Raises RefusedError if a node within plain values, at any depth, has a target that is not allowed at `place`."""
    for inner, node in all_nodes(key, value):
        allowed(node["_target_"], f"{inner}._target_".lstrip("."), place)
        for name in node:
            if not isinstance(name, str) or (name.startswith("_") and name not in ("_target_", "_partial_")):
                raise refusal(f"{inner}.{name}".lstrip("."), node[name], "expected _target_ or an argument")
