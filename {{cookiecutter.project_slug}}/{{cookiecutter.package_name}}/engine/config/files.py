"""The YAML files of configs/, and the overrides of the command line."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from ..errors import RefusedError
from ..plain import yaml_text

GLOBAL_PATTERN = re.compile(r"\s*#\s*@package +_global_\s*(\n|$)")


class Override(NamedTuple):
    """An override as it was typed, and the key that it sets, adds or removes."""

    text: str
    key: str


def overrides() -> list[Override]:
    """Return the overrides as they were typed: without the `++` that command.py adds."""
    words: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return [Override(word.removeprefix("++"), word.lstrip("+~").partition("=")[0]) for word in map(str, words or ())]


def configs_folder() -> Path:
    """Return the folder configs/ that Hydra composes from."""
    sources = HydraConfig.get().runtime.config_sources
    return Path(next(source.path for source in sources if source.provider == "main"))


def check_files(configs: Path) -> None:
    """Raises RefusedError if a file of configs/ is too large or too deep for Hydra to read; see `yaml_text`."""
    for path in sorted(configs.rglob("*.yaml")):
        yaml_text(path)


def check_experiment() -> None:
    """Raises RefusedError if Hydra would set the keys of the chosen experiment under `experiment`."""
    for name in re.findall(r"[\w/.-]+", str(HydraConfig.get().runtime.choices.get("experiment"))):
        path = configs_folder() / "experiment" / f"{name}.yaml"
        if path.is_file() and not GLOBAL_PATTERN.match(yaml_text(path)):
            file = path.relative_to(configs_folder().parent).as_posix()
            raise RefusedError(f"{file}: expected `# @package _global_` as its first line; else its keys set nothing")


def read_config(path: Path) -> dict[str, Any]:
    """Read a file of configs/. Returns {} if it does not exist or holds no keys."""
    if not path.is_file():
        return {}
    written = yaml.safe_load(yaml_text(path))
    return written if isinstance(written, dict) else {}


def defaults_of(written: dict[str, Any]) -> list[Any]:
    """Return the defaults list of a config, empty if it is not a list: Hydra reports that."""
    entries = written.get("defaults")
    return entries if isinstance(entries, list) else []


def line_of(key: str, path: Path) -> int | None:
    """Return the line of a key in a file, counted from 1; None if it is not there."""
    line, node = None, yaml.compose(yaml_text(path))
    for name in key.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        places = {each.value: (each.start_mark.line + 1, value) for each, value in pairs}
        line, node = places.get(name, (None, None))
    return line
