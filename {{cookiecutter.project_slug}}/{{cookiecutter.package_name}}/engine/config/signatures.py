"""Read the signatures of classes and functions from source code."""

import ast
from collections.abc import Iterator
from typing import Any, NamedTuple

from .modules import Definition, Module, lineage, locate
from .types import evaluate

# Classes that store `**kwargs` until training begins, and the target that then receives them.
RECEIVERS = {
    "TensorBoardLogger": "torch.utils.tensorboard.writer.SummaryWriter",
    "WandbLogger": "wandb.sdk.wandb_init.init",
    "WeightAveraging": "torch.optim.swa_utils.AveragedModel",
    "DDPStrategy": "torch.nn.parallel.distributed.DistributedDataParallel",
}


class Parameter(NamedTuple):
    """A parameter: its annotation, the module to evaluate that in, and True if it has no default."""

    annotation: ast.AST | None
    module: Module
    required: bool

    def type(self) -> Any:
        """Evaluate the annotation; Any if it can't be."""
        return evaluate(self.annotation, self.module)


class Signature(NamedTuple):
    """The parameters of a target. `positional` names those that can be passed by position; `open`: has `**kwargs`."""

    parameters: dict[str, Parameter]
    positional: list[str]
    open: bool


def signature(definition: Definition | str) -> Signature | None:
    """Return the signature of a class or a function; None if it can't be read, or `locate` has returned a message."""
    if isinstance(definition, str):
        return None
    if isinstance(definition.node, ast.FunctionDef):
        return _arguments(definition.node, definition.module, skip=0)
    return _of_class(lineage(definition))


def full_signature(definition: Definition) -> Signature | None:
    """Return the signature of a target in which the arguments of its receiver, of any type, replace `**kwargs`."""
    takes = signature(definition)
    names = [each.node.name for each in lineage(definition) if isinstance(each.node, ast.ClassDef)]
    later = next((signature(locate(RECEIVERS[name])) for name in names if name in RECEIVERS), None)
    if takes is None or later is None or later.open or not takes.open:
        return takes
    passed_on = {name: Parameter(None, each.module, required=False) for name, each in later.parameters.items()}
    return Signature({**passed_on, **takes.parameters}, takes.positional, open=False)


def _of_class(classes: Iterator[Definition]) -> Signature | None:
    """Return the signature of the first `__init__`, merged with the next one if it passes its `**kwargs` on."""
    for each in classes:
        if not isinstance(each.node, ast.ClassDef):
            return None
        functions = {node.name: node for node in each.node.body if isinstance(node, ast.FunctionDef)}
        if "__new__" in functions or any(isinstance(node, ast.If) for node in each.node.body):
            return None
        if "__init__" in functions:
            own = _arguments(functions["__init__"], each.module, skip=1)
            call = _super_call(functions["__init__"]) if own.open else None
            above = _of_class(classes) if call else None
            if call is None or above is None:
                return own
            fixed = {*above.positional[: len(call.args)], *(word.arg for word in call.keywords)}
            inherited = {name: parameter for name, parameter in above.parameters.items() if name not in fixed}
            return Signature({**inherited, **own.parameters}, own.positional, above.open)
        if each.node.decorator_list:
            return None  # a dataclass or the like writes its own
    return Signature({}, [], open=False)


def _super_call(init: ast.FunctionDef) -> ast.Call | None:
    """Return the `super().__init__(…, **kwargs)` call of an `__init__` that uses its `**kwargs` nowhere else."""
    kwargs = init.args.kwarg.arg if init.args.kwarg else ""
    uses = [node for node in ast.walk(init) if isinstance(node, ast.Name) and node.id == kwargs]
    calls = (node for node in ast.walk(init) if isinstance(node, ast.Call) and f"**{kwargs}" in ast.unparse(node))
    call = next((call for call in calls if ast.unparse(call.func) == "super().__init__"), None)
    return call if len(uses) == 1 else None


def _arguments(function: ast.FunctionDef, module: Module, skip: int) -> Signature:
    """Return the signature of a function without its first `skip` arguments."""
    args = function.args
    positional = [*args.posonlyargs, *args.args]
    optional = positional[len(positional) - len(args.defaults) :]
    optional += [arg for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default]
    every = [*positional[skip:], *args.kwonlyargs]
    parameters = {arg.arg: Parameter(arg.annotation, module, arg not in optional) for arg in every}
    return Signature(parameters, [arg.arg for arg in positional[skip:]], open=args.kwarg is not None)
