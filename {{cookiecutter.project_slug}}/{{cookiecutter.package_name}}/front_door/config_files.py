"""The files of configs/ as they are written, before Hydra composes them."""

from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig


def configs_folder() -> Path:
    """The folder configs/ that Hydra composes from."""
    sources = HydraConfig.get().runtime.config_sources
    return Path(next(source.path for source in sources if source.provider == "main"))


def read_config(path: Path) -> dict[str, Any]:
    """What a file of configs/ holds; nothing where it is not there or holds no keys."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8") as file:
        written = yaml.safe_load(file)
    return written if isinstance(written, dict) else {}


def defaults_of(written: dict[str, Any]) -> list[Any]:
    """The defaults list of a config; Hydra says what is wrong where it is no list."""
    entries = written.get("defaults")
    return entries if isinstance(entries, list) else []


def line_of(key: str, path: Path) -> int | None:
    """The line on which the key stands in a file, from 1."""
    line = None
    node: yaml.Node | None = yaml.compose(path.read_text(encoding="utf-8"))
    for name in key.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((key, value) for key, value in pairs if key.value == name), None)
        if found is None:
            return None
        line, node = found[0].start_mark.line + 1, found[1]
    return line
