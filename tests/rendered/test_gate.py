"""The classes that a config might name: what each can do, and in which configs it may therefore be named."""

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from killed import PACKAGE

import my_project
from my_project.engine.config.modules import read_module
from my_project.engine.config.targets import (
    ALLOWED_TARGETS,
    OWN_TARGETS,
    REFUSED_MODULES,
    TRAINING_TARGETS,
    Place,
    allowed,
)
from my_project.engine.errors import RefusedError

# For each public class of Lightning's packages: the place where it is allowed, and what its arguments can do.
# A class of a newer version is refused until it is listed here and in targets.py.
COMPUTES = (Place.RERUN, "computes, or prints")
OWN_FILE = (Place.OWN, "writes a file where its argument says")
UPLOADS = (Place.OWN, "writes or uploads where its arguments say")
CALLS = (Place.OWN, "calls what it is given")
PROCESSES = (Place.OWN, "joins or starts processes as its arguments say")
NUMBERS = (Place.OWN, "changes how numbers are computed; may import a package")
ABSTRACT = (None, "a base class, a type or a helper: nothing to build")
CLASSES = {
    "pytorch_lightning.callbacks": {
        "BackboneFinetuning": COMPUTES, "BaseFinetuning": ABSTRACT, "BasePredictionWriter": ABSTRACT,
        "BatchSizeFinder": (Place.RERUN, "keeps a checkpoint in the run folder for a while"), "Callback": ABSTRACT,
        "Checkpoint": ABSTRACT, "DeviceStatsMonitor": COMPUTES, "EMAWeightAveraging": COMPUTES,
        "EarlyStopping": COMPUTES, "EarlyStoppingReason": ABSTRACT, "GradientAccumulationScheduler": COMPUTES,
        "Interval": ABSTRACT, "LambdaCallback": CALLS,
        "LearningRateFinder": (Place.RERUN, "keeps a checkpoint in the run folder for a while"),
        "LearningRateMonitor": COMPUTES,
        "ModelCheckpoint": (Place.RERUN, "writes and removes checkpoints: see _check_paths and AtomicCheckpointIO"),
        "ModelPruning": CALLS, "ModelSummary": COMPUTES, "OnExceptionCheckpoint": OWN_FILE, "ProgressBar": ABSTRACT,
        "RichModelSummary": CALLS, "RichProgressBar": CALLS, "RichProgressBarTheme": ABSTRACT,
        "SpikeDetection": OWN_FILE, "StochasticWeightAveraging": COMPUTES, "TQDMProgressBar": COMPUTES,
        "ThroughputMonitor": CALLS, "Timer": COMPUTES, "Tqdm": ABSTRACT, "WeightAveraging": COMPUTES,
        "WriteInterval": ABSTRACT,
    },
    "pytorch_lightning.loggers": {
        "CSVLogger": UPLOADS, "CometLogger": UPLOADS, "DummyLogger": ABSTRACT,
        "ExperimentWriter": (None, "removes a metrics.csv where its argument says, and makes folders"),
        "LitLogger": UPLOADS, "Logger": ABSTRACT, "MLFlowLogger": UPLOADS,
        "NeptuneLogger": (None, "no longer there: it raises an error"), "TensorBoardLogger": UPLOADS,
        "WandbLogger": UPLOADS,
    },
    "pytorch_lightning.plugins": {
        "AsyncCheckpointIO": (Place.OWN, "writes checkpoints otherwise than this project"),
        "BitsandbytesPrecision": NUMBERS, "DeepSpeedPrecision": NUMBERS, "DoublePrecision": NUMBERS,
        "FSDPPrecision": NUMBERS, "HalfPrecision": NUMBERS, "LayerSync": ABSTRACT,
        "LightningDoublePrecisionModule": ABSTRACT, "MixedPrecision": NUMBERS, "Precision": ABSTRACT,
        "TorchSyncBatchNorm": NUMBERS, "TransformerEnginePrecision": NUMBERS, "XLAPrecision": NUMBERS,
    },
    "pytorch_lightning.profilers": {
        "AdvancedProfiler": OWN_FILE, "PassThroughProfiler": (Place.OWN, "does nothing"), "Profiler": ABSTRACT,
        "PyTorchProfiler": OWN_FILE, "RegisterRecordFunction": ABSTRACT, "ScheduleWrapper": ABSTRACT,
        "SimpleProfiler": OWN_FILE, "XLAProfiler": (Place.OWN, "opens a port"),
    },
    "pytorch_lightning.strategies": {
        "DDPStrategy": PROCESSES, "DeepSpeedStrategy": PROCESSES, "FSDPStrategy": PROCESSES,
        "ModelParallelStrategy": PROCESSES, "ParallelStrategy": ABSTRACT, "SingleDeviceStrategy": PROCESSES,
        "SingleDeviceXLAStrategy": PROCESSES, "Strategy": ABSTRACT, "XLAStrategy": PROCESSES,
    },
    "lightning_fabric.plugins": {
        "BitsandbytesPrecision": NUMBERS, "CheckpointIO": ABSTRACT, "ClusterEnvironment": ABSTRACT,
        "Collective": ABSTRACT, "DeepSpeedPrecision": NUMBERS, "DoublePrecision": NUMBERS, "FSDPPrecision": NUMBERS,
        "HalfPrecision": NUMBERS, "KubeflowEnvironment": PROCESSES, "LSFEnvironment": PROCESSES,
        "LightningEnvironment": PROCESSES, "MPIEnvironment": PROCESSES, "MixedPrecision": NUMBERS,
        "Precision": ABSTRACT, "SLURMEnvironment": PROCESSES, "SingleDeviceCollective": ABSTRACT,
        "TorchCheckpointIO": (Place.OWN, "writes and removes where Lightning says"), "TorchCollective": ABSTRACT,
        "TorchElasticEnvironment": PROCESSES, "TransformerEnginePrecision": NUMBERS, "XLACheckpointIO": OWN_FILE,
        "XLAEnvironment": PROCESSES, "XLAPrecision": NUMBERS,
    },
}  # fmt: skip


def modules_of(package: str) -> Iterator[tuple[str, ast.AST]]:
    """Yield name and source of each module of a package, or of the module with that name."""
    found = read_module(package)
    assert found is not None, package
    root = found.path.parent
    for path in sorted(root.rglob("*.py")) if found.path.name == "__init__.py" else [found.path]:
        inner = path.relative_to(root).with_suffix("").parts if path.name != "__init__.py" else ()
        name = ".".join([package, *inner]) if found.path.name == "__init__.py" else package
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def place_of(target: str) -> Place | None:
    """Return the first place at which the target may be named."""
    for place in Place:
        try:
            allowed(target, place=place)
        except RefusedError:
            continue
        return place
    return None


@pytest.mark.parametrize("package", CLASSES)
def test_each_class_of_lightning_is_let_in_where_what_it_can_do_does_no_harm(package: str) -> None:
    seen = set()
    for module, tree in modules_of(package):
        for node in ast.iter_child_nodes(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                seen.add(node.name)
                known = CLASSES[package].get(node.name)
                assert known, f"{module}.{node.name} is new: what can it do? Say so in CLASSES, and list it accordingly"
                place = known[0] if f"{package}.{node.name}" in (*TRAINING_TARGETS, *OWN_TARGETS) else None
                twin = f"pytorch_lightning.plugins.{node.name}"  # twin of a class of lightning_fabric
                assert place_of(f"{module}.{node.name}") == place, node.name
                assert place == known[0] or twin in OWN_TARGETS, node.name
    listed = {name.rpartition(".")[2] for name in (*TRAINING_TARGETS, *OWN_TARGETS) if name.startswith(f"{package}.")}
    assert listed <= seen, "a list of targets.py names what is not there"


# Calls by which code reads or writes files, starts programs, downloads or unpickles; then arguments and imports.
FILES = re.compile(
    r"(^|\.)(open|exec|eval|__import__|import_module|system|popen|Popen|run|check_output|check_call|loads?|save|savefig"
    r"|mkdir|makedirs|rmtree|unlink|rename|write_text|write_bytes|urlopen|urlretrieve|download|from_pretrained|fromfile"
    r"|load_state_dict_from_url|get_filesystem|CDLL|memmap)$"
)
PATHS = re.compile(r"(^|_)(path|file|filename|dir|dirpath|folder|url|model_name\w*|command|cmd)$")
IMPORTS = {
    "ctypes",
    "fsspec",
    "importlib",
    "pickle",
    "requests",
    "shutil",
    "subprocess",
    "tempfile",
    "urllib",
    "zipfile",
}
# Findings that do no harm, and why.
HARMLESS = {
    ("kornia.augmentation.container.augment.AugmentationSequential", "Image.open"): "a mask's file; it gets images",
    **{
        (f"torchmetrics.aggregation.Running{name}", f"{name}Metric(**kwargs)"): "another metric"
        for name in ("Mean", "Sum")
    },
    ("torch.nn.modules.module.Module", "load"): "a function within load_state_dict, of that name",
}


@pytest.mark.parametrize("package", ALLOWED_TARGETS)
def test_no_class_that_any_config_may_name_reads_writes_or_runs(package: str) -> None:
    """Looks in its source for calls, imports and arguments that involve files, programs or the network."""
    if find_spec(package.partition(".")[0]) is None:
        pytest.skip(f"{package} is optional, and not installed")
    for module, tree in modules_of(package):
        kinds = (node for node in ast.iter_child_nodes(tree) if isinstance(node, ast.ClassDef))
        classes = [node for node in kinds if not node.name.startswith("_")]  # private classes are not targets
        for node in classes:
            found = (
                set()
                if module in REFUSED_MODULES
                else {*suspicious(node)} - {what for where, what in HARMLESS if where == f"{module}.{node.name}"}
            )
            assert not found, f"{module}.{node.name}: {found}: list the classes of {package} that do no such thing"
        imported = {name.partition(".")[0] for node in ast.walk(tree) for name in imports(node)}
        assert not classes or not imported & IMPORTS, f"{module} imports {imported & IMPORTS}"


def imports(node: ast.AST) -> list[str]:
    """Return the modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []


def suspicious(node: ast.ClassDef) -> Iterator[str]:
    """Yield such calls within a class, and such arguments of its constructor."""
    for inner in ast.walk(node):
        called = ast.unparse(inner.func) if isinstance(inner, ast.Call) else ""
        if FILES.search(called) and not (called.startswith("self.") and called.endswith(".eval")):
            yield called
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            arguments = [*inner.args.posonlyargs, *inner.args.args, *inner.args.kwonlyargs]
            yield from (each.arg for each in arguments if PATHS.search(each.arg))
            yield from passed_on(inner)


def passed_on(init: ast.FunctionDef) -> Iterator[str]:
    """Yield calls, other than that of the base class, to which a constructor passes its open keyword arguments."""
    kwargs = init.args.kwarg.arg if init.args.kwarg else ""
    for call in (node for node in ast.walk(init) if isinstance(node, ast.Call)):
        words = [ast.unparse(word.value) for word in call.keywords if word.arg is None]
        if kwargs in words and not ast.unparse(call.func).endswith(".__init__"):
            yield f"{ast.unparse(call.func)}(**{kwargs})"


NOT_TARGETS = (
    "torch.load", "torch.nn.init.ones_", "torch.nn.Module.half", "torch.utils.data.DataLoader", "torch.hub.load",
    "torch.nn.modules.module.torch.load", "torch.nn.modules.module.namedtuple", "torch.nn..Linear", "torch.nn.Linear ",
    "torch.nn.modules.linear.Parameter.data", "torch.optim.optimizer.defaultdict",
    "torch.nn.attention._fa3._FA3", "torch", "", 3, ["torch.nn.Linear"],
    "torchmetrics.text.BERTScore", "torchmetrics.image.FrechetInceptionDistance", "torchmetrics.metric.deepcopy",
    "pytorch_lightning.loggers.csv_logs.ExperimentWriter", "pytorch_lightning.loggers.csv_logs.os.remove",
    "pytorch_lightning.core.saving.load_hparams_from_yaml", "pytorch_lightning.cli.LightningCLI",
    "lightning_fabric.fabric.Fabric", "hydra.utils.get_method", "builtins.eval", "os.system",
    "kornia.augmentation.RandomDissolving",
    f"{PACKAGE}", f"{PACKAGE}.load_run", f"{PACKAGE}.target", f"{PACKAGE}.engine.runs.folder.RunFolder",
    f"{PACKAGE}.engine.training.metrics_log.MetricsLog", f"{PACKAGE}.engine.runs.metrics.draw_curves",
    f"{PACKAGE}.engine.training.inference.BatchWriter", f"{PACKAGE}.engine.config.targets.allowed",
    f"{PACKAGE}.models.optimization.parameter_groups", f"{PACKAGE}.callbacks.finite_guard.bad_weights",
    f"{PACKAGE}.callbacks.finite_guard.Path",
    f"{PACKAGE}.datamodules.base.sha256_of",
)  # fmt: skip


@pytest.mark.parametrize("name", NOT_TARGETS, ids=str)
def test_what_no_config_may_name_is_refused_in_one_line(name: object) -> None:
    with pytest.raises(RefusedError) as refused:
        allowed(name, place=Place.OWN)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["model", "datamodule", "network", "schedule", "callback"])
def test_what_a_config_names_is_let_in_where_it_belongs(kind: str) -> None:
    target = {
        "model": "torch.nn.Linear", "datamodule": f"{PACKAGE}.datamodules.base.TensorDataModule",
        "network": "torchmetrics.Accuracy", "schedule": f"{PACKAGE}.models.optimization.plateau",
        "callback": f"{PACKAGE}.callbacks.finite_guard.FiniteGuard",
    }[kind]  # fmt: skip
    assert place_of(target) == (Place.RERUN if kind == "callback" else Place.ANY)


OWN = """
import functools
import my_project
import pytorch_lightning as pl
import torch.nn as net
import torch.utils.data
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from my_project.engine import target
from my_project.models import optimization

class Block(nn.Module): ...
class Deeper(Block): ...
class Set(torch.utils.data.Dataset[int]): ...
class Head(net.Linear): ...
class Reports(pl.Callback): ...
class Both(nn.Module, pl.Callback): ...
class Logs(CSVLogger): ...
class Plain: ...
class Mixer(Mixer): ...
@target
class Marked: ...
@target
def made(): ...
def drawn(path): ...
@functools.cache
def cached(path): ...
def wraps(f): return f
@wraps
def wrapped(): ...
"""


def test_own_code_is_a_target_by_its_base_or_by_its_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_code.py").write_text(OWN, encoding="utf-8")
    spec: Any = my_project.__spec__
    monkeypatch.setattr(spec, "submodule_search_locations", [*spec.submodule_search_locations, str(tmp_path)])
    expected = {
        Place.ANY: ["Block", "Deeper", "Set", "Head", "Marked", "made"], Place.RERUN: ["Reports", "Both"],
        Place.OWN: ["Logs", "Plain", "Mixer"], None: ["drawn", "cached", "wraps", "wrapped"],
    }  # fmt: skip
    for place, names in expected.items():
        assert {name: place_of(f"{PACKAGE}.own_code.{name}") for name in names} == dict.fromkeys(names, place)
    with pytest.raises(RefusedError, match=r"it is a function, .*; put @target \(from my_project.engine import "):
        allowed(f"{PACKAGE}.own_code.drawn")
