"""Check a config against the source code, without importing torch or building anything.

Types and ranges come from the signature of each target (signatures.py) and are checked by pydantic (values.py).
Checks that need objects, such as that of a missing device, are in `check_built` of training/train.py, which builds
them before any data is read.
"""

import ast
import glob
import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, get_args

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..arguments import Given
from ..errors import INSTALL, RefusedError, is_meant, refusal
from ..plain import check_plain
from .files import check_experiment, configs_folder, defaults_of, overrides, read_config
from .modules import PACKAGE, Definition, lineage, locate, lookup, member
from .monitor import check_monitor, settle_mode
from .signatures import Parameter, Signature, full_signature, signature
from .targets import Place, allowed
from .tree import all_nodes, check_references, last_part, leaves, nodes, resolved

BASE_CLASSES = {  # of the target of each group; a class with a base that can't be read is checked once it is built
    "model": "LightningModule",
    "datamodule": "LightningDataModule",
    "trainer": "Trainer",
    "callbacks": "Callback",
    "logger": "Logger",
}
GIVEN_TO_TRAINER = Given("callbacks", "logger", "default_root_dir")  # passed by the engine
LOGGERS = ("mlflow", "tensorboard", "wandb")


def known_keys() -> list[str]:
    """Return the top-level keys: those of train.yaml, its groups, and those of the command's own file."""
    written = read_config(configs_folder() / "train.yaml")
    groups = [name for entry in defaults_of(written) if isinstance(entry, dict) for name in entry]
    own = read_config(configs_folder() / f"{HydraConfig.get().job.config_name}.yaml")
    return [*dict.fromkeys([*(key for key in (*written, *own) if key != "defaults"), *groups])]


def check_keys(cfg: DictConfig) -> None:
    """Raises RefusedError if a top-level key is not one of `known_keys`."""
    check_experiment()
    known = known_keys()
    for key in [key for key in map(str, cfg) if key not in known]:
        plain: Any = OmegaConf.to_container(cfg)
        full, value = next(leaves(plain.pop(key), key))
        if key in (facts_of(plain.get("datamodule")) or ()):
            raise refusal(full, value, "is given by the data, not by the config")
        if options := sorted(configs_folder().glob(f"*/{glob.escape(key)}.yaml")):
            option = "[default,{}]" if options[0].parent.name == "callbacks" else "{}"
            reason = f"no such key; it is an option of a group: {options[0].parent.name}={option.format(key)}"
            raise refusal(full, value, reason)
        error = refusal(full, value, "no such key", [*known, *all_keys(plain)])
        if "did you mean" not in str(error) and (words := _with_option(key)):
            raise refusal(full, value, f"no such key; did you mean {words}={value}?")
        raise error


def _with_option(key: str) -> str | None:
    """Return overrides that choose an option with this key, such as `datamodule=table datamodule.target`; else None."""
    for group in ("datamodule", "callbacks"):
        for path in sorted((configs_folder() / group).glob("*.yaml")):
            for full in (each for each in all_keys({group: read_config(path)}) if is_meant(key, each)):
                return f"{group}={f'[default,{path.stem}]' if group == 'callbacks' else path.stem} {full}"
    return None


def all_keys(cfg: Any) -> list[str]:
    """List every key that can be set: those of the config, and the optional arguments of its targets."""
    plain: Any = OmegaConf.to_container(cfg) if OmegaConf.is_config(cfg) else cfg
    keys = [key for key, _ in leaves(plain)]
    for group in (group for group in BASE_CLASSES if group in plain):
        for key, node in all_nodes(group, plain[group]):
            takes = signature(locate(str(node["_target_"])))
            parameters = takes.parameters.items() if takes else ()
            keys += [key, *(f"{key}.{name}" for name, parameter in parameters if not parameter.required)]
    given = [f"trainer.{name}" for name in GIVEN_TO_TRAINER.names]
    return [key for key in dict.fromkeys(keys) if not key.endswith("]") and key not in given]


def check_shown(cfg: DictConfig) -> None:
    """Raises RefusedError if a key or an argument does not exist. Mandatory values may still be missing."""
    check_keys(cfg)
    values: Any = OmegaConf.to_container(cfg)
    check_references(dict(leaves(values)))
    with suppress(OmegaConfBaseException):
        values = OmegaConf.to_container(cfg, resolve=True)
    list(_check_targets(values))


def check_config(cfg: DictConfig, reads_data: bool = True, writes: bool = False) -> dict[str, Any]:
    """Check a whole config; return its values, resolved. Raises RefusedError, with the key, for the first problem.

    With `reads_data=False`, files and folders to read may be missing: predict.py has inputs of its own. With
    `writes=True`, the folders that the config writes to must be writable.
    """
    settle_mode(cfg)
    plain = resolved(cfg)
    check_plain(plain)  # required of config.yaml when it is read again
    arguments = list(_check_targets(plain))
    if reads_data:  # else the config of a finished run, whose loggers are not built and need not be installed
        _check_loggers(plain)
    if plain.get("mode", "") is None and isinstance(plain.get("monitor"), str):
        check_monitor(plain)
    from .values import check_values, check_written  # imports pydantic, too slow to wait for on a typo

    check_values(plain, arguments, reads_data)
    if writes:
        check_written(arguments)
    return plain


class UnknownArgumentError(RefusedError):
    """An argument that the target does not take; names a similar one that it takes."""

    def __init__(self, key: str, value: Any, reason: str, candidates: Iterable[str]) -> None:
        super().__init__(str(refusal(key, value, reason, candidates, last_part(key))), key)
        self.value, self.reason = value, reason

    def with_suggestion(self, plain: dict[str, Any]) -> RefusedError:
        """Return the error with a similar key elsewhere in the config, or how to leave the key out."""
        key, typed = str(self.key), [override.key for override in overrides()]
        if "did you mean" in str(self):
            return self
        candidates = [each for each in all_keys(plain) if each != key and is_meant(last_part(key), each)]
        if "run" in typed:  # few keys of a finished run can be overridden
            candidates = [each for each in candidates if each.startswith("datamodule.")]
        if candidates or key in typed:
            return refusal(key, self.value, self.reason, candidates, last_part(key))
        return RefusedError(f"{self}; ~{key} leaves it out", key)


Argument = tuple[str, Any, Parameter]  # key, value, and its parameter in the target's signature


def _check_targets(plain: Any) -> Iterator[Argument]:
    """Check every node that the engine, the model or the datamodule builds; yield their arguments."""
    facts = facts_of(plain.get("datamodule"))
    try:
        yield from check_node("datamodule", plain.get("datamodule"), Given(), Place.ANY)
        yield from check_node("model", plain.get("model"), None if facts is None else Given(*facts), Place.ANY)
        yield from check_node("trainer", plain.get("trainer"), GIVEN_TO_TRAINER, Place.OWN)
        for group in ("callbacks", "logger"):
            options = plain.get(group) or {}
            if not isinstance(options, dict):
                raise refusal(group, options, f"expected files of configs/{group}/")
            if "_target_" in options:
                raise refusal(f"{group}._target_", options["_target_"], "needs a name above it: own: {_target_: …}")
            for name, node in options.items():
                yield from check_node(f"{group}.{name}", node, Given(), Place.OWN)
    except UnknownArgumentError as error:
        raise error.with_suggestion(plain) from None


def check_node(key: str, node: Any, given: Given | None, place: Place) -> Iterator[Argument]:
    """Check a node with a `_target_`: it is allowed, takes each argument, and lacks none.

    Yields the arguments, so that their values can be checked. `given` holds the arguments that the code passes, None
    if unknown. Raises RefusedError.
    """
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        group = key.split(".")[0]
        raise refusal(key, node and "{…}", f"names no _target_; choose a file of configs/{group}/: {group}=…")
    definition = allowed(node["_target_"], f"{key}._target_", place)
    is_option = "." not in key.removeprefix("callbacks.").removeprefix("logger.")  # which is built and used at once
    if is_option:
        _check_base(key, node["_target_"], definition)
    takes = full_signature(definition)
    for name, value in node.items():
        inner = f"{key}.{name}"
        if not isinstance(name, str) or name.startswith("_"):
            if name != "_target_" and (name != "_partial_" or is_option):
                raise refusal(inner, value, "expected _target_ or an argument")
        elif given is not None and name in given.names:
            raise refusal(inner, value, "is given by the code or the data, not by the config")
        elif takes is not None and name in takes.parameters:
            yield inner, value, takes.parameters[name]
        elif takes is not None and not takes.open:
            nested = (f"{key}.{leaf}" for leaf, _ in leaves({**node, name: None}) if "." in leaf)
            passed = given.names if given else ()
            candidates = [each for each in (*takes.parameters, *nested) if each not in passed]
            raise UnknownArgumentError(inner, value, f"{last_part(node['_target_'])} takes no {name}", candidates)
        inner_given = given_to(takes.parameters.get(name)) if takes and isinstance(value, dict) else None
        if inner_given and "_target_" not in value:
            raise refusal(inner, value, "names no _target_")
        if inner_given and "_partial_" in value:  # built in code and used at once
            raise refusal(f"{inner}._partial_", value["_partial_"], "expected _target_ or an argument")
        for part_key, part in nodes(inner, value):
            unknown = None if definition.module.name.startswith(f"{PACKAGE}.") else Given()
            yield from check_node(part_key, part, inner_given or unknown, place)
    if takes is not None and given is not None:
        _check_given(key, node, takes, given)


def _check_base(key: str, target: str, definition: Definition) -> None:
    """Raises RefusedError if the target of a group's option lacks the base class of that group, or is abstract."""
    base = BASE_CLASSES.get(key.partition(".")[0])
    classes = [*lineage(definition)]
    if base and all(isinstance(each.node, ast.ClassDef) and each.node.name != base for each in classes):
        raise refusal(f"{key}._target_", target, f"expected a {base}")
    if missing := _abstract_method(classes):
        raise refusal(f"{key}._target_", target, f"leaves {missing}() to a class that inherits from it")


def _abstract_method(classes: list[Definition]) -> str | None:
    """Return the first method of own classes that is abstract, or that raises NotImplementedError and is called.

    A method that raises but is never called, such as an unsupported hook, is not counted.
    """
    own = [each.node for each in classes if f"{each.module.name}.".startswith(f"{PACKAGE}.")]
    methods: dict[str, ast.FunctionDef] = {}
    for part in (part for node in own if isinstance(node, ast.ClassDef) for part in node.body):
        if isinstance(part, ast.FunctionDef):
            methods.setdefault(part.name, part)  # a subclass overrides its bases
    parts = [part for method in methods.values() for part in ast.walk(method)]
    calls = {ast.unparse(part.func) for part in parts if isinstance(part, ast.Call)}
    for name, method in methods.items():
        is_abstract = any("abstractmethod" in ast.unparse(decorator) for decorator in method.decorator_list)
        raises = isinstance(method.body[-1], ast.Raise) and "NotImplementedError" in ast.unparse(method.body[-1])
        if is_abstract or (raises and f"self.{name}" in calls):
            return name
    return None


def _check_given(key: str, node: dict[str, Any], takes: Signature, given: Given) -> None:
    """Raises RefusedError if the target does not take the arguments `given` by the code, or lacks a required one."""
    for name in given.names - takes.parameters.keys():
        if not takes.open:
            reason = f"does not take {name}, which the code passes; write a function that takes it and builds this"
            raise refusal(f"{key}._target_", node["_target_"], reason)
    if node.get("_partial_"):
        return
    passed = {*node, *given.names, *takes.positional[: given.positional]}
    for name, parameter in takes.parameters.items():
        if parameter.required and name not in passed:
            raise refusal(f"{key}.{name}", "", f"has to be given: {last_part(node['_target_'])} needs it")


def given_to(parameter: Parameter | None) -> Given | None:
    """Return the `Given` in the annotation of a parameter, which lists what the code passes; None if there is none."""
    types = [parameter.type()] if parameter else []
    for type_ in types:
        types += get_args(type_)  # also the metadata of Annotated
    return next((each for each in types if isinstance(each, Given)), None)


def facts_of(node: Any) -> frozenset[str] | None:
    """Return the names of the facts that a datamodule gives its model: the fields of the TypedDict of its `facts`.

    None if `facts` has another annotation.
    """
    definition = locate(str(node.get("_target_"))) if isinstance(node, dict) else ""
    facts = member(definition, "facts") if isinstance(definition, Definition) else None
    returns = facts.node.returns if facts and isinstance(facts.node, ast.FunctionDef) else None
    name = returns.value if isinstance(returns, ast.Constant) else ast.unparse(returns) if returns else ""
    kind = lookup(facts.module, str(name)) if facts else None
    if kind is None or not isinstance(kind.node, ast.ClassDef):
        return None
    fields = [field for each in lineage(kind) if isinstance(each.node, ast.ClassDef) for field in each.node.body]
    return frozenset(ast.unparse(field.target) for field in fields if isinstance(field, ast.AnnAssign))


def _check_loggers(plain: dict[str, Any]) -> None:
    """Raises RefusedError if a logger's package is not installed. Lightning names its logger modules after them."""
    for name, node in (plain.get("logger") or {}).items():
        package = last_part(allowed(node["_target_"], place=Place.OWN).module.name)
        if package in LOGGERS and importlib.util.find_spec(package) is None:
            raise RefusedError(f"logger.{name}: {package} is not installed: {INSTALL} {package}")
