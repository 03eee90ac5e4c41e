"""Types of parameters, evaluated from their annotations without importing torch."""

import ast
import builtins
import collections.abc
import importlib
import importlib.util
import typing
from typing import Any

from .modules import IMPORTABLE, PACKAGE, Module, lookup

# Modules whose names are types that a value of a config can be of.
TYPED = {"annotated_types", "builtins", "collections.abc", "os", "pathlib", "pydantic", "typing", "typing_extensions"}
ARGUMENTS = f"{PACKAGE}.engine.arguments"  # which needs no torch
VALUES = {"device", "dtype", "Size"}  # torch's names that are no classes to build
PLAIN_BASES = {"Enum", "IntEnum", "StrEnum", "NamedTuple", "TypedDict"}  # of classes that YAML gives as they are


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
        if found.module.name == ARGUMENTS:
            return getattr(importlib.import_module(ARGUMENTS), name)
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
