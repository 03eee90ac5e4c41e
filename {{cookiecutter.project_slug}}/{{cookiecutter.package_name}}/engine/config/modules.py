"""Read Python source code without importing it: modules, definitions, base classes."""

import ast
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import NamedTuple

from ..errors import INSTALL, RefusedError

PACKAGE = __name__.partition(".")[0]
# Modules that are quick to import: their definitions are imported, not parsed.
IMPORTABLE = sys.stdlib_module_names | {"annotated_types", "pydantic", "typing_extensions"}


class Module(NamedTuple):
    """The source of a module: its top-level names with their AST nodes, and the modules that it star-imports."""

    name: str
    path: Path = Path()
    tree: ast.AST = ast.Module([], [])
    names: Mapping[str, ast.AST] = {}
    stars: Sequence[str] = ()


class Definition(NamedTuple):
    """The definition of a name: a class, a function or an assigned value; `node` is None if it can't be read.

    An alias `source:name` or `source` refers to an IMPORTABLE module.
    """

    module: Module
    node: ast.AST | None


@cache
def read_module(name: str) -> Module | None:
    """Find and parse the module `name`. Returns None if there is none, or it is not written in Python.

    Raises RefusedError if it has a syntax error.
    """
    spec = _spec(name.split("."))
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    path, names, stars = Path(spec.origin), dict[str, ast.AST](), list[str]()
    package = name if spec.submodule_search_locations else name.rpartition(".")[0]
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except SyntaxError as error:
        raise RefusedError(f"{path}:{error.lineno}: {error.msg}") from error
    for node in _top_level(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names[node.name] = node
        elif isinstance(node, ast.Import):
            names |= {(alias.asname or alias.name.partition(".")[0]): alias for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            stars += [source for alias in node.names if alias.name == "*"]
            names |= {alias.asname or alias.name: ast.alias(f"{source}:{alias.name}") for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
    return Module(name, path, tree, names, stars)


def _spec(parts: list[str]) -> ModuleSpec | None:
    """Find a module without importing its parents, unlike `importlib.util.find_spec("a.b")`, which imports a."""
    try:
        spec = importlib.util.find_spec(parts[0])
    except (ImportError, ValueError):
        return None
    for depth in range(2, len(parts) + 1):
        if spec is None or not spec.submodule_search_locations:
            return None
        spec = PathFinder.find_spec(".".join(parts[:depth]), list(spec.submodule_search_locations))
    return spec


def _top_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements of a body, and those of the `if`, `try` and `with` in it."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _top_level(node)


def locate(target: str) -> Definition | str:
    """Resolve a dotted path to its definition. Returns a message, as str, if there is none."""
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        module = read_module(name)
        if module is not None:
            definition = lookup(module, parts[length])
            if definition is None:
                return f"no {parts[length]} in {name}"
            return definition if len(parts) == length + 1 else f"{'.'.join(parts[: length + 1])} is not a module"
        if _spec(parts[:length]) is not None:
            return Definition(Module(name), None)
    return f"{parts[0]} is not installed: {INSTALL} {parts[0]}"


def lookup(module: Module, name: str, depth: int = 0) -> Definition | None:
    """Resolve `name` in `module`, following imports; None if it is not defined."""
    node = module.names.get(name)
    if depth > 20:  # circular imports
        return Definition(module, None)
    if isinstance(node, ast.alias):
        source, _, original = node.name.partition(":")
        if source.partition(".")[0] in IMPORTABLE:
            return Definition(Module(source), node)
        if not original:  # import x: the module itself
            return Definition(Module(source), None)
        source_module = read_module(source)
        inner = lookup(source_module, original, depth + 1) if source_module else None
        return inner or Definition(read_module(f"{source}.{original}") or module, None)
    if node is not None:
        return Definition(module, node)
    for star in module.stars:
        starred = read_module(star)
        if starred is not None and (inner := lookup(starred, name, depth + 1)):
            return inner
    return None


def lineage(definition: Definition) -> Iterator[Definition]:
    """Yield a class and its bases, depth first; `node` is None for a base that can't be read."""
    yield definition
    if isinstance(definition.node, ast.ClassDef):
        for base in definition.node.bases:
            name = base.value if isinstance(base, ast.Subscript) else base
            inner = lookup(definition.module, name.id) if isinstance(name, ast.Name) else None
            yield from lineage(inner or Definition(definition.module, None))


def member(definition: Definition, name: str) -> Definition | None:
    """Look up the attribute `name` in a class and its bases; `node` is None if a base can't be read."""
    for each in lineage(definition):
        if not isinstance(each.node, ast.ClassDef):
            return Definition(each.module, None)
        for node in each.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return Definition(each.module, node)
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if ast.unparse(target) == name:
                    return Definition(each.module, node.value)
    return None
