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


class Library:
    """Stands for an imported module such as `torch`: `torch.Tensor` becomes a Node, `torch.device` anything."""

    def __getattr__(self, name: str) -> Any:
        return Any if name in VALUES else Node


class Names(dict[str, Any]):
    """The namespace in which the annotations of a module are evaluated."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def __missing__(self, name: str) -> Any:
        origin = self.module.names.get(name)
        if isinstance(origin, ast.alias) and _is_of_library(origin.name):
            source, _, original = origin.name.partition(":")
            if original in VALUES or source.startswith("numpy"):
                return Any
            return Node if original else Library()
        definition = lookup(self.module, name)
        if definition is None:
            return Any if name == "type" else getattr(builtins, name, Any)  # a config gives no class: type[nn.Module]
        if isinstance(definition.node, ast.alias):
            source, _, original = definition.node.name.partition(":")
            type_ = importlib.import_module(source)
            type_ = getattr(type_, original) if original else type_
            if type_ in (collections.abc.Callable, typing.Callable) or source not in TYPED:
                return Node  # a timedelta, say
            return Any if type_ is typing.Type else type_  # noqa: UP006
        if definition.module.name == ARGUMENTS:
            return getattr(importlib.import_module(ARGUMENTS), name)
        if isinstance(definition.node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in definition.node.bases}
            if bases == {"TypedDict"}:
                return _typed_dict(definition.node, definition.module)
            return Any if bases & PLAIN_BASES else Node
        return evaluate(definition.node, definition.module)


def _typed_dict(node: ast.ClassDef, module: Module) -> Any:
    """Evaluate a TypedDict, as one of typing_extensions: pydantic takes no other before Python 3.12."""
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    total = not any(ast.unparse(option) == "total=False" for option in node.keywords)
    types = {ast.unparse(field.target): evaluate(field.annotation, module) for field in fields}
    made: Any = typing_extensions.TypedDict(node.name, types, total=total)  # type: ignore[bad-argument-type, misc]
    made.__pydantic_config__ = {"allow_inf_nan": False, "extra": "forbid"}
    return made


def _is_of_library(imported: str) -> bool:
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
