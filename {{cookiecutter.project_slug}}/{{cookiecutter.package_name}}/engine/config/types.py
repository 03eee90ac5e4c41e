"""Evaluate type annotations without importing torch."""

import ast
import builtins
import collections.abc
import importlib
import importlib.util
import typing
from typing import Any

import typing_extensions

from .modules import IMPORTABLE, PACKAGE, Module, lookup

# Modules whose types a config value can have.
TYPED = {"annotated_types", "builtins", "collections.abc", "os", "pathlib", "pydantic", "typing", "typing_extensions"}
ARGUMENTS = f"{PACKAGE}.engine.arguments"  # which needs no torch
VALUES = {"device", "dtype", "Size"}  # not classes to instantiate
PLAIN_BASES = {"Enum", "IntEnum", "StrEnum", "NamedTuple", "TypedDict"}  # of classes given as plain values


class Node:
    """Stands for classes of torch and Lightning (Module, Optimizer, …): a config gives a node with a `_target_`."""

    def __class_getitem__(cls, _: Any) -> type["Node"]:
        return cls

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        from pydantic_core import core_schema  # imported late: too slow to wait for on a typo

        def has_target(value: dict[str, Any]) -> dict[str, Any]:
            if "_target_" not in value:
                raise ValueError("a node with a _target_")
            return value

        return core_schema.no_info_after_validator_function(has_target, core_schema.dict_schema())


class Unknown:
    """Stands for a type that config values can't be checked against, such as `type[nn.Module]`."""

    def __class_getitem__(cls, _: Any) -> Any:
        return Any


class Library:
    """Stands for an imported module such as `torch`: `torch.Tensor` becomes a Node, `torch.device` anything."""

    def __getattr__(self, name: str) -> Any:
        return Any if name in VALUES else Node


class Names(dict[str, Any]):
    """The namespace in which the annotations of a module are evaluated."""

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
        if found.module.name == ARGUMENTS:
            return getattr(importlib.import_module(ARGUMENTS), name)
        if isinstance(found.node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in found.node.bases}
            if bases == {"TypedDict"}:
                return _typed_dict(found.node, found.module)
            return Any if bases & PLAIN_BASES else Node
        return evaluate(found.node, found.module)


def _typed_dict(node: ast.ClassDef, module: Module) -> Any:
    """Evaluate a TypedDict, as one of typing_extensions: pydantic takes no other before Python 3.12."""
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    total = not any(ast.unparse(option) == "total=False" for option in node.keywords)
    types = {ast.unparse(field.target): evaluate(field.annotation, module) for field in fields}
    made: Any = typing_extensions.TypedDict(node.name, types, total=total)  # type: ignore[bad-argument-type, misc]
    made.__pydantic_config__ = {"allow_inf_nan": False, "extra": "forbid"}
    return made


def _is_of_the_field(imported: str) -> bool:
    """Return True for a name of torch, Lightning or the like, except their unions of types, which begin with `_`."""
    source, _, original = imported.partition(":")
    return source.partition(".")[0] not in {*IMPORTABLE, PACKAGE} and not original.startswith("_")


def evaluate(annotation: ast.AST | None, module: Module) -> Any:
    """Evaluate an annotation; Any if it is not a type, or not in this Python version."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if annotation is None:
        return Any
    try:
        return eval(ast.unparse(annotation), {"__builtins__": {}}, Names(module))
    except Exception:
        return Any
