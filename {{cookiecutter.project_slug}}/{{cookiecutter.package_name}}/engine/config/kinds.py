"""Check that the target of each group is of the right base class and not abstract, and takes its `**kwargs`.

Reads source code only, so that a callback of the wrong class is refused before data is read. A class with a base that
can't be read passes: `check_built` of training/train.py checks the object.
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
# Classes that store `**kwargs` until training begins, and the target that then receives them.
LATE = {
    "TensorBoardLogger": "torch.utils.tensorboard.writer.SummaryWriter",
    "WandbLogger": "wandb.sdk.wandb_init.init",
    "WeightAveraging": "torch.optim.swa_utils.AveragedModel",
    "DDPStrategy": "torch.nn.parallel.distributed.DistributedDataParallel",
}


def check_kind(key: str, node: dict[str, Any]) -> None:
    """Raises RefusedError if the target of a group's node does not inherit from that group's class, or is abstract."""
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
    """Raises RefusedError if the target accepts an argument in `**kwargs` that their receiver in LATE does not take."""
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
    """Return the first method that is abstract, or that raises NotImplementedError and is called by the class itself.

    A method that raises but is never called, such as an unsupported hook, is not counted.
    """
    own = [each for each in classes if each is classes[0] or f"{each.module.name}.".startswith(f"{PACKAGE}.")]
    bodies = [each.node for each in own if isinstance(each.node, ast.ClassDef)]
    first: dict[str, ast.FunctionDef] = {}  # by name; a subclass overrides its bases
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
