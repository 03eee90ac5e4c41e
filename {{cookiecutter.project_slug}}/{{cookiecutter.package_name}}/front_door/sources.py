"""What Python files and the files of configs/ say, read without running them, so that a typo is answered at once.

Where a dotted name leads, which arguments a `_target_` takes, and the types that their annotations mean. What can't be
read (a compiled module, a computed name) counts as unknown, never as wrong.
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
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra.core.hydra_config import HydraConfig

from ..errors import RefusedError
from ..run_folder.plain import yaml_text


def configs_folder() -> Path:
    """The folder configs/ that Hydra composes from."""
    sources = HydraConfig.get().runtime.config_sources
    return Path(next(source.path for source in sources if source.provider == "main"))


def check_files(configs: Path) -> None:
    """Raises RefusedError for a file of configs/ that Hydra would read for ever; see `yaml_text`."""
    for path in sorted(configs.rglob("*.yaml")):
        yaml_text(path)


def read_config(path: Path) -> dict[str, Any]:
    """What a file of configs/ holds; nothing where it is not there or holds no keys."""
    if not path.is_file():
        return {}
    written = yaml.safe_load(yaml_text(path))
    return written if isinstance(written, dict) else {}


def defaults_of(written: dict[str, Any]) -> list[Any]:
    """The defaults list of a config; Hydra says what is wrong where it is no list."""
    entries = written.get("defaults")
    return entries if isinstance(entries, list) else []


def line_of(key: str, path: Path) -> int | None:
    """The line on which the key stands in a file, from 1."""
    line = None
    node: yaml.Node | None = yaml.compose(yaml_text(path))
    for name in key.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((key, value) for key, value in pairs if key.value == name), None)
        if found is None:
            return None
        line, node = found[0].start_mark.line + 1, found[1]
    return line


PACKAGE = __name__.partition(".")[0]
# Modules that are quick to import: what they define is taken as it is.
IMPORTABLE = sys.stdlib_module_names | {"annotated_types", "pydantic", "typing_extensions"}


class Module(NamedTuple):
    """A module's source: what each name of its top level is, and the modules of its star imports."""

    name: str
    path: Path = Path()
    tree: ast.AST = ast.Module([], [])
    names: Mapping[str, ast.AST] = {}
    stars: Sequence[str] = ()


class Definition(NamedTuple):
    """Where a name leads: a class, a function, the value assigned to it; `node` is None where it can't be read.

    An alias `source:name` or `source` stands for what an IMPORTABLE module defines.
    """

    module: Module
    node: ast.AST | None


@cache
def read_module(name: str) -> Module | None:
    """The module `name`, found by its path and parsed; None where there is none, or none in Python.

    Raises RefusedError where it is no Python.
    """
    spec = _spec(name.split("."))
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin)
    names: dict[str, ast.AST] = {}
    stars = []
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
    if depth > 20:  # modules that import from each other
        return Definition(module, None)
    if isinstance(node, ast.alias):
        source, _, original = node.name.partition(":")
        if source.partition(".")[0] in IMPORTABLE:
            return Definition(Module(source), node)
        if not original:  # import x: nothing of x is named yet
            return Definition(Module(source), None)
        found = read_module(source)
        inner = lookup(found, original, depth + 1) if found else None
        return inner or Definition(read_module(f"{source}.{original}") or module, None)
    if node is not None:
        return Definition(module, node)
    for star in module.stars:
        starred = read_module(star)
        if starred is not None and (inner := lookup(starred, name, depth + 1)):
            return inner
    return None


def lineage(found: Definition) -> Iterator[Definition]:
    """A class and those it inherits from, in the order in which Python looks; `node` is None for an unknown one."""
    yield found
    if isinstance(found.node, ast.ClassDef):
        for base in found.node.bases:
            name = base.value if isinstance(base, ast.Subscript) else base
            inner = lookup(found.module, name.id) if isinstance(name, ast.Name) else None
            yield from lineage(inner or Definition(found.module, None))


def member(found: Definition, name: str) -> Definition | None:
    """What a class or one of its bases defines as `name`; `node` is None where that can't be read."""
    for each in lineage(found):
        if not isinstance(each.node, ast.ClassDef):
            return Definition(each.module, None)
        for node in each.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return Definition(each.module, node)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                return Definition(each.module, node.value)
    return None


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
