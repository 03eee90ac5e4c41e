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
    "torch.nn", "torch.optim", "torchmetrics.aggregation", "torchmetrics.classification", "torchmetrics.clustering",
    "torchmetrics.collections", "torchmetrics.nominal", "torchmetrics.regression", "torchmetrics.retrieval",
    "torchmetrics.segmentation",
)  # fmt: skip

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
    known = f"{', '.join(ALLOWED_TARGETS)} (ALLOWED_TARGETS in {PACKAGE}/engine/config/targets.py)"
    may = f"a config may name {PACKAGE}, {known}"
    parts = target.split(".")
    private = any(part.startswith("_") for part in parts) and parts[0] != PACKAGE
    if parts[0] not in ROOTS or private or not all(part.isidentifier() for part in parts):
        raise refusal(key, target, f"not allowed; {may}")
    definition = locate(target)
    if isinstance(definition, str):
        raise refusal(key, target, definition, _neighbours(target), target)
    own = definition.module.name.partition(".")[0] == PACKAGE
    kinds = ast.ClassDef | ast.FunctionDef if own else ast.ClassDef
    if own and definition.module.name.split(".")[1:2] in ([], ["engine"]):
        raise refusal(key, target, f"not allowed: it comes from {definition.module.name}; {may}")
    if not isinstance(definition.node, kinds):
        raise refusal(key, target, "not allowed: expected a class" + (" or a function" if own else ""))
    needed = _place_of_own(definition) if own else _place_in(LISTED, f"{definition.module.name}.{definition.node.name}")
    if needed is None and not own:
        raise refusal(key, target, f"not allowed: it comes from {definition.module.name}; {may}")
    if own and (needed is None or needed > place):
        what = "a function" if needed is None else "no part of a model or of data by its base"
        why = f"not allowed here: it is {what}, and a stranger's config could call it as well"
        raise refusal(key, target, f"{why}; put @target (from {PACKAGE}.engine import target) above it if it may")
    if needed is not None and needed > place:
        where = "your own trainer, callbacks and logger" if needed is Place.OWN else "trainer and callbacks"
        raise refusal(key, target, f"not allowed here: it may be named in {where} alone")
    return definition


def _place_in(names: Names, target: str) -> Place | None:
    """Return the first place that lists this class: by its path, by its name within a package, or by its package."""
    home, _, name = target.rpartition(".")
    for place, entries in names.items():
        for entry in entries:
            package, _, last = entry.rpartition(".")
            if f"{target}.".startswith(f"{entry}.") or (last == name and f"{home}.".startswith(f"{package}.")):
                return place
    return None


def _place_of_own(definition: Definition) -> Place | None:
    """Return the least place where a definition of this package is allowed; None for a function without @target."""
    if isinstance(definition.node, ast.ClassDef | ast.FunctionDef) and _is_marked(definition.node, definition.module):
        return Place.ANY
    places = [place for base in _bases(definition) if (place := _place_in(BASES, base)) is not None]
    plain = Place.OWN if isinstance(definition.node, ast.ClassDef) else None
    return max(places, default=plain)  # a Module that is also a Callback counts as a Callback


def _is_marked(node: ast.ClassDef | ast.FunctionDef, module: Module) -> bool:
    for decorator in node.decorator_list:
        meant = lookup(module, decorator.id) if isinstance(decorator, ast.Name) else None
        if meant and meant.module.name == __name__ and getattr(meant.node, "name", "") == "target":
            return True
    return False


def _bases(definition: Definition, depth: int = 0) -> Iterator[str]:
    """Yield the full names of the bases in other packages, at any depth: `torch.nn.Module` for `nn.Module`."""
    for base in definition.node.bases if isinstance(definition.node, ast.ClassDef) and depth < 20 else ():
        name = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
        first, _, rest = name.partition(".")
        known = definition.module.names.get(first)
        if isinstance(known, ast.alias):
            source = known.name.replace(":", ".") if known.asname or ":" in known.name else first
            name = f"{source}.{rest}".rstrip(".")
        inner = Definition(definition.module, known) if isinstance(known, ast.ClassDef) else ""
        inner = locate(name) if name.startswith(f"{PACKAGE}.") else inner
        if isinstance(inner, Definition):
            yield from _bases(inner, depth + 1)
        else:
            yield name


def _neighbours(target: str) -> list[str]:
    """List targets that differ from this one in the last name or the last but one, as suggestions."""
    home, _, _ = target.rpartition(".")
    module = read_module(home)
    if module is not None:
        return [f"{home}.{name}" for name in module.names]
    parent = home.rpartition(".")[0]
    package = read_module(parent)
    if package is None:
        return []
    return [f"{parent}.{file.stem}{target[len(home) :]}" for file in package.path.parent.iterdir()]


def check_targets(key: str, value: Any, place: Place = Place.ANY) -> None:
    """Raises RefusedError if a node within plain values, at any depth, has a target that is not allowed at `place`."""
    for inner, node in all_nodes(key, value):
        allowed(node["_target_"], f"{inner}._target_".lstrip("."), place)
        for name in node:
            if not isinstance(name, str) or (name.startswith("_") and name not in ("_target_", "_partial_")):
                raise refusal(f"{inner}.{name}".lstrip("."), node[name], "expected _target_ or an argument")
