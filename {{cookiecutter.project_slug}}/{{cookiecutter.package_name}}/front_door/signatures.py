"""What a `_target_` takes: the arguments in its source, and the types that their annotations mean."""

import ast
import builtins
import collections.abc
import importlib
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from .sources import IMPORTABLE, PACKAGE, Definition, Module, lineage, lookup

# Modules whose names are types that a value of a config can be of.
TYPED = {"annotated_types", "builtins", "collections.abc", "os", "pathlib", "pydantic", "typing", "typing_extensions"}
VALUES = {"device", "dtype", "Size"}  # torch's names that are no classes to build
PLAIN_BASES = {"Enum", "IntEnum", "StrEnum", "NamedTuple", "TypedDict"}  # of classes that YAML gives as they are


class Parameter(NamedTuple):
    """One argument: its annotation, the module in which that means something, and whether it has to be given."""

    annotation: ast.AST | None
    module: Module
    required: bool

    def type(self) -> Any:
        """The type that the annotation means, Any where that is not known."""
        return evaluate(self.annotation, self.module)


class Signature(NamedTuple):
    """What a target takes. `positional` are the names that can be given without a name; `open`: any other name too."""

    parameters: dict[str, Parameter]
    positional: list[str]
    open: bool


def signature(found: Definition) -> Signature | None:
    """The arguments of a class or a function; None where they can't be read."""
    return _arguments(found, skip=0) if isinstance(found.node, ast.FunctionDef) else _of_class(lineage(found))


def _of_class(classes: Iterator[Definition]) -> Signature | None:
    """The arguments of the first `__init__`, with those of the next one where it hands on its `**kwargs`."""
    for each in classes:
        if not isinstance(each.node, ast.ClassDef):
            return None
        functions = {node.name: node for node in each.node.body if isinstance(node, ast.FunctionDef)}
        if "__new__" in functions or any(isinstance(node, ast.If) for node in each.node.body):
            return None
        if "__init__" in functions:
            own = _arguments(Definition(each.module, functions["__init__"]), skip=1)
            call = _hands_on(functions["__init__"]) if own.open else None
            above = _of_class(classes) if call else None
            if call is None or above is None:
                return own
            fixed = {*above.positional[: len(call.args)], *(word.arg for word in call.keywords)}
            inherited = {name: parameter for name, parameter in above.parameters.items() if name not in fixed}
            return Signature({**inherited, **own.parameters}, own.positional, above.open)
        if each.node.decorator_list:
            return None  # a dataclass or the like writes its own
    return Signature({}, [], open=False)


def _hands_on(init: ast.FunctionDef) -> ast.Call | None:
    """The call by which an `__init__` gives its `**kwargs` to that of its base, if it does nothing else with them."""
    options = init.args.kwarg.arg if init.args.kwarg else ""
    uses = [node for node in ast.walk(init) if isinstance(node, ast.Name) and node.id == options]
    for call in (node for node in ast.walk(init) if isinstance(node, ast.Call)):
        handed = any(word.arg is None for word in call.keywords)
        if ast.unparse(call.func) == "super().__init__" and handed and len(uses) == 1:
            return call
    return None


def _arguments(found: Definition, skip: int) -> Signature:
    assert isinstance(found.node, ast.FunctionDef)
    args = found.node.args
    positional = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults)) + [*args.defaults]
    named = zip(args.kwonlyargs, args.kw_defaults, strict=True)
    pairs = [*zip(positional[skip:], defaults[skip:], strict=True), *named]
    parameters = {arg.arg: Parameter(arg.annotation, found.module, default is None) for arg, default in pairs}
    return Signature(parameters, [arg.arg for arg in positional[skip:]], open=args.kwarg is not None)


class Node:
    """Stands for each class of the field (Module, Optimizer, …): a config gives an object by its `_target_`."""

    def __class_getitem__(cls, _: Any) -> type["Node"]:
        return cls

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        from pydantic_core import core_schema  # brought in where a value is checked; most typos need not wait for it

        def has_target(value: dict[str, Any]) -> dict[str, Any]:
            if "_target_" not in value:
                raise ValueError("a node with a _target_")
            return value

        return core_schema.no_info_after_validator_function(has_target, core_schema.dict_schema())


class Unknown:
    """Stands for what no value of a config can be checked against: `type[nn.Module]`, numpy's types."""

    def __class_getitem__(cls, _: Any) -> Any:
        return Any


class Library:
    """Stands for a module of the field: `torch.Tensor` in an annotation is a Node, `torch.device` is given as text."""

    def __getattr__(self, name: str) -> Any:
        return Any if name in VALUES else Node


class Names(dict[str, Any]):
    """What names mean in the annotations of a module."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def __missing__(self, name: str) -> Any:
        written = self.module.names.get(name)
        if isinstance(written, ast.alias) and _is_of_the_field(written.name):
            source, _, original = written.name.partition(":")
            if original in VALUES or source.startswith("numpy"):
                return Any
            return Node if original else Library()
        found = lookup(self.module, name)
        if found is None:
            return Unknown if name == "type" else getattr(builtins, name, Any)
        if isinstance(found.node, ast.alias):
            source, _, original = found.node.name.partition(":")
            imported = importlib.import_module(source)
            thing = getattr(imported, original) if original else imported
            if thing in (collections.abc.Callable, typing.Callable) or source not in TYPED:
                return Node  # a timedelta, say
            return Unknown if thing is typing.Type else thing  # noqa: UP006
        if isinstance(found.node, ast.ClassDef):
            plain = {ast.unparse(base).rpartition(".")[2] for base in found.node.bases} & PLAIN_BASES
            return Any if plain else Node
        return evaluate(found.node, found.module)


def _is_of_the_field(imported: str) -> bool:
    """torch's and Lightning's names for unions of types begin with `_`; their other ones are classes."""
    source, _, original = imported.partition(":")
    return source.partition(".")[0] not in {*IMPORTABLE, PACKAGE} and not original.startswith("_")


def evaluate(annotation: ast.AST | None, module: Module) -> Any:
    """The type that an expression means; Any where it is no type, or one of this Python's future."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if annotation is None:
        return Any
    try:
        return eval(ast.unparse(annotation), {"__builtins__": {}}, Names(module))
    except Exception:
        return Any
