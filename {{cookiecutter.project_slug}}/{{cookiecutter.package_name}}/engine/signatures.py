"""What a `_target_` takes, read from its source: nothing is imported, so a typo is answered before torch is loaded.

A name is followed through the imports of modules to the class or function that it stands for, and an annotation
becomes a type that pydantic can check. What can't be read (a compiled module, a computed name) counts as unknown, never
as wrong.
"""

import ast
import builtins
import collections.abc
import importlib
import importlib.util
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, NamedTuple, Union

PACKAGE = __name__.partition(".")[0]
# Modules that are quick to import: names in annotations come from them as they are.
IMPORTABLE = sys.stdlib_module_names | {"annotated_types", "pydantic", "typing_extensions"}

# Given parts that are known at run time alone.
UNION: Any = Union
LITERAL: Any = Literal


class Node(dict[str, Any]):
    """A part of the config that names a `_target_`: stands for the object that will be built from it."""


class Parameter(NamedTuple):
    """One argument: its annotation, the module in which that means something, and whether it has to be given."""

    annotation: ast.AST | None
    module: "Module"
    required: bool

    def type(self) -> Any:
        """The type that the annotation means, Any where that is not known.

        A class of the field becomes Node: a config gives it by its `_target_`.
        """
        try:
            return _evaluate(self.annotation, self.module)
        except (TypeError, ValueError, AttributeError, ImportError, SyntaxError):
            return Any


class Signature(NamedTuple):
    """What a target takes. `positional` are the names that can be given without a name; `open`: any other name too."""

    parameters: dict[str, Parameter]
    positional: list[str]
    open: bool


class Module(NamedTuple):
    """A module's source: what each name of its top level is, and the modules of its star imports."""

    name: str
    path: Path = Path()
    tree: ast.AST = ast.Module([], [])
    names: Mapping[str, ast.AST] = {}
    stars: Sequence[str] = ()


class Definition(NamedTuple):
    """Where a name leads: a class, a function, an assignment; `node` is None where the source can't be read."""

    module: Module
    node: ast.AST | None


@cache
def read_module(name: str) -> Module | None:
    """The module `name`, found by its path and parsed; None where there is none, or none in Python."""
    spec = _spec(name.split("."))
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin)
    names: dict[str, ast.AST] = {}
    stars = []
    package = name if spec.submodule_search_locations else name.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in _top_level(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names[node.name] = node
        elif isinstance(node, ast.Import):
            names |= {(alias.asname or alias.name.partition(".")[0]): alias for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, package)
            stars += [source for alias in node.names if alias.name == "*"]
            names |= {alias.asname or alias.name: ast.alias(f"{source}:{alias.name}") for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
    return Module(name, path, tree, names, stars)


def _spec(parts: list[str]) -> ModuleSpec | None:
    """importlib's find_spec("a.b") imports a; here each part is looked for in the folder of the one before."""
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
    """Statements of a body, and of the `if`, `try` and `with` in it."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _top_level(node)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that `from ..a import b` means within `package`."""
    if not node.level:
        return node.module or ""
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def locate(target: str) -> Definition | str:
    """Follow a dotted path to what it names; or say, as text, where it ends."""
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        module = read_module(name)
        if module is not None:
            found = lookup(module, parts[length])
            if found is None:
                return f"no {parts[length]} in {name}"
            return found if len(parts) == length + 1 else f"{'.'.join(parts[: length + 1])} is not a module"
        if _spec(parts[:length]) is not None:
            return Definition(Module(name), None)
    return f"no module {parts[0]}"


def lookup(module: Module, name: str, depth: int = 0) -> Definition | None:
    """What `name` means in `module`, through its imports; None where nothing has that name."""
    node = module.names.get(name)
    if depth > 20:
        return Definition(module, None)
    if isinstance(node, ast.alias):
        source, _, original = node.name.partition(":")
        if not original:  # import x: nothing of x is named yet
            return Definition(Module(source), node if source in IMPORTABLE else None)
        if source.partition(".")[0] in IMPORTABLE:
            return Definition(Module(source), node)
        found = read_module(source)
        inner = lookup(found, original, depth + 1) if found else None
        return inner or Definition(read_module(f"{source}.{original}") or module, None)
    if node is not None:
        return Definition(module, node)
    for star in module.stars:
        source_module = read_module(star)
        if source_module is not None and (found_there := lookup(source_module, name, depth + 1)):
            return found_there
    return None


def classes(found: Definition) -> Iterator[Definition]:
    """A class and those it inherits from, in the order in which Python looks; `node` is None for an unknown one."""
    yield found
    if isinstance(found.node, ast.ClassDef):
        for base in found.node.bases:
            name = base.value if isinstance(base, ast.Subscript) else base
            inner = lookup(found.module, name.id) if isinstance(name, ast.Name) else None
            yield from classes(inner or Definition(found.module, None))


def member(found: Definition, name: str) -> Definition | None:
    """What a class or one of its bases defines as `name`; `node` is None where that can't be read."""
    for each in classes(found):
        if not isinstance(each.node, ast.ClassDef):
            return Definition(each.module, None)
        for node in each.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return Definition(each.module, node)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                return Definition(each.module, node.value)
    return None


def signature(found: Definition) -> Signature | None:
    """The arguments of a class or a function; None where they can't be read."""
    return _arguments(found, skip=0) if isinstance(found.node, ast.FunctionDef) else _of_class(classes(found))


def _of_class(lineage: Iterator[Definition]) -> Signature | None:
    """The arguments of the first `__init__`, with those of the next one where it hands on its `**kwargs`."""
    for each in lineage:
        if not isinstance(each.node, ast.ClassDef):
            return None
        inits = [node for node in each.node.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
        if inits:
            own = _arguments(Definition(each.module, inits[0]), skip=1)
            above = _of_class(lineage) if own.open and _hands_on(inits[0]) else None
            if above is None:
                return own
            return Signature({**above.parameters, **own.parameters}, own.positional, above.open)
        if each.node.decorator_list:
            return None  # a dataclass or the like writes its own
    return Signature({}, [], open=False)


def _hands_on(init: ast.FunctionDef) -> bool:
    """Whether an `__init__` gives its `**kwargs` to that of its base."""
    return any(
        isinstance(call, ast.Call)
        and ast.unparse(call.func) == "super().__init__"
        and any(word.arg is None for word in call.keywords)
        for call in ast.walk(init)
    )


def _arguments(found: Definition, skip: int) -> Signature:
    assert isinstance(found.node, ast.FunctionDef)
    module, args = found.module, found.node.args
    positional = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults)) + [*args.defaults]
    named = zip(args.kwonlyargs, args.kw_defaults, strict=True)
    pairs = [*zip(positional[skip:], defaults[skip:], strict=True), *named]
    parameters = {arg.arg: Parameter(arg.annotation, module, default is None) for arg, default in pairs}
    return Signature(parameters, [arg.arg for arg in positional[skip:]], open=args.kwarg is not None)


def _evaluate(node: ast.AST | None, module: Module) -> Any:
    match node:
        case ast.Constant(value=str(text)):
            return _evaluate(ast.parse(text, mode="eval").body, module)
        case ast.Constant(value=None):
            return None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return UNION[_evaluate(left, module), _evaluate(right, module)]
        case ast.Name() | ast.Attribute():
            return _named(ast.unparse(node), module)
        case ast.Subscript(value=base, slice=inside):
            return _generic(_evaluate(base, module), inside, module)
        case ast.Call(func=function):  # a limit: Gt(0), Interval(ge=0, lt=1)
            words = {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg}
            return _evaluate(function, module)(*map(ast.literal_eval, node.args), **words)
    return Any


def _generic(base: Any, inside: ast.AST, module: Module) -> Any:
    parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
    if base is Literal:
        return LITERAL[tuple(ast.literal_eval(part) for part in parts)]
    if base in (Any, Node):
        return base
    types = tuple(
        ... if isinstance(part, ast.Constant) and part.value is ... else _evaluate(part, module) for part in parts
    )
    whole = base[types] if len(types) > 1 else base[types[0]]
    return _lenient(whole) if typing.get_origin(whole) in (tuple, set, frozenset) else whole


def _named(dotted: str, module: Module) -> Any:
    first, _, rest = dotted.partition(".")
    imported = module.names.get(first)
    if isinstance(imported, ast.alias) and _is_class_of_the_field(imported.name):
        return Node
    found = lookup(module, first)
    if found is None:
        return getattr(builtins, first, Any)
    if isinstance(found.node, ast.alias):
        source, _, original = found.node.name.partition(":")
        thing: Any = importlib.import_module(source)
        for name in f"{original}.{rest}".split("."):
            thing = getattr(thing, name) if name else thing
        if any(isinstance(each, type) and issubclass(each, PurePath) for each in (thing, *typing.get_args(thing)[:1])):
            return _lenient(thing)
        return Node if thing is collections.abc.Callable or thing is typing.Callable else thing
    if isinstance(found.node, ast.ClassDef) or rest:
        return Node
    return _evaluate(found.node, found.module) if found.node is not None else Any


def _lenient(kind: Any) -> Any:
    """A path or a tuple, which a config gives as text or as a list."""
    from pydantic import Strict

    return Annotated[kind, Strict(False)]


def _is_class_of_the_field(imported: str) -> bool:
    """Lightning's and torch's names for types begin with `_`; their other names in annotations are classes."""
    source, _, original = imported.partition(":")
    return source.partition(".")[0] not in {*IMPORTABLE, PACKAGE} and not original.startswith("_")
