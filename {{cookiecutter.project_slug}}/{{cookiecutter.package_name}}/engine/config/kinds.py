"""Whether the class that a group names is of the group's kind and whole, and whether it takes what it passes on late.

Told from sources alone, so that a callback that is none is refused before data is read. Of a class with a base that
can't be read nothing is said: check_built of engine/train.py looks at the object.
"""

import ast
from typing import Any

from ..errors import refusal
from .modules import PACKAGE, Definition, Module, lineage, locate
from .signatures import signature

KINDS = {
    "model": "LightningModule",
    "datamodule": "LightningDataModule",
    "trainer": "Trainer",
    "callbacks": "Callback",
    "logger": "Logger",
}
# Classes that keep `**kwargs` until training begins, and what then takes them.
LATE = {
    "TensorBoardLogger": "torch.utils.tensorboard.writer.SummaryWriter",
    "WandbLogger": "wandb.sdk.wandb_init.init",
    "WeightAveraging": "torch.optim.swa_utils.AveragedModel",
    "DDPStrategy": "torch.nn.parallel.distributed.DistributedDataParallel",
}


def check_kind(key: str, node: dict[str, Any]) -> None:
    """Raises RefusedError where the target of a group's node is no class of that kind, or can't be built or started."""
    target, kind = str(node["_target_"]), KINDS[key.partition(".")[0]]
    found = locate(target)
    classes = [*lineage(found)] if isinstance(found, Definition) else [Definition(Module(target), None)]
    known = {each.node.name for each in classes if isinstance(each.node, ast.ClassDef)}
    readable = isinstance(classes[0].node, ast.ClassDef) and all(each.node is not None for each in classes)
    if readable and kind not in known:
        raise refusal(f"{key}._target_", target, f"expected a {kind}")
    if missing := _left_open(classes):
        raise refusal(f"{key}._target_", target, f"leaves {missing}() to be written by a class that inherits from it")


def check_late(key: str, node: dict[str, Any]) -> None:
    """Raises RefusedError for an argument that the target takes as one of `**kwargs`, and what it is for does not."""
    found = locate(str(node["_target_"]))
    if not isinstance(found, Definition):
        return
    classes = [each.node.name for each in lineage(found) if isinstance(each.node, ast.ClassDef)]
    own = signature(found)
    takers = [locate(LATE[name]) for name in classes if name in LATE]
    takes = signature(takers[0]) if takers and isinstance(takers[0], Definition) else None
    if own is None or not own.open or takes is None or takes.open:
        return
    for name, value in node.items():
        if not name.startswith("_") and name not in (known := {**own.parameters, **takes.parameters}):
            why = f"neither {classes[0]} nor what it hands it on to takes {name}"
            raise refusal(f"{key}.{name}", value, why, known, name)


def _left_open(classes: list[Definition]) -> str | None:
    """The first method that a class only names and calls itself: it is abstract, or raises NotImplementedError.

    One that is not called, such as a hook of which the class says that it has none, may be left.
    """
    own = [each for each in classes if each is classes[0] or f"{each.module.name}.".startswith(f"{PACKAGE}.")]
    bodies = [each.node for each in own if isinstance(each.node, ast.ClassDef)]
    first: dict[str, ast.FunctionDef] = {}  # of each name, what a subclass has not replaced
    for part in (part for body in bodies for part in body.body if isinstance(part, ast.FunctionDef)):
        first.setdefault(part.name, part)
    parts = [part for method in first.values() for part in ast.walk(method)]
    called = {ast.unparse(part.func) for part in parts if isinstance(part, ast.Call)}
    for name, part in first.items():
        abstract = any("abstractmethod" in ast.unparse(mark) for mark in part.decorator_list)
        raises = isinstance(part.body[-1], ast.Raise) and "NotImplementedError" in ast.unparse(part.body[-1])
        if abstract or (raises and f"self.{name}" in called):
            return name
    return None
