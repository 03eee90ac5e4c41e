"""Explain Hydra's errors in one line."""

import difflib
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from ..config.files import configs_folder, line_of, overrides
from ..errors import INSTALL, RefusedError, is_meant, is_own, refusal

LAUNCHERS = ("joblib", "submitit", "ray", "rq")
SWEEPS = "chooses by what a run returns, and a run returns nothing; give each value: --multirun seed=0,1,2"


def explain_error(error: Exception, words: list[str], configs: Path) -> Exception:
    """Turn an `error` in composing the config into a one-line RefusedError; return the project's own unchanged."""
    if isinstance(error, RefusedError):
        return with_file(error)
    if is_own(Path(traceback.extract_tb(error.__traceback__)[-1].filename)):
        return error  # a bug in the project, not a mistake in the command
    text = re.sub(r"(^|['\s])\+\+", r"\1", str(error))
    if "LexerNoViableAlt" in text or "token recognition" in text:
        word = next((word.removeprefix("++") for word in words if not _composes(configs, word)), "")
        key, _, value = word.partition("=")
        note = " (~ is not your home folder here)" if "~" in value else ""
        return RefusedError(" ".join(f"{word}: can't be parsed; quote the value: \"{key}='{value}'\"{note}".split()))
    if "missing EQUAL" in text and (bare := [word for word in words if "=" not in word and word[:1] not in ("~", "-")]):
        return _without_key(bare[0], words)
    if missing := re.search(r"Could not (?:find|load) '(.+)/(.+?)'", text):
        group, option = missing.groups()
        if group == "hydra/sweeper":
            return RefusedError(f"hydra/sweeper={option}: {SWEEPS}")
        if group == "hydra/launcher" and (package := option.partition("_")[0]) in LAUNCHERS:
            return RefusedError(f"{group}={option}: is not installed: {INSTALL} hydra-{package}-launcher")
        options = sorted(file.stem for file in (configs / group).glob("*.yaml"))
        options = options or ["basic"] * (group == "hydra/launcher")
        return refusal(group, option, f"expected {', '.join(options)}" if options else "no such group", options, option)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return RefusedError(f"{error.problem_mark.name}:{error.problem_mark.line + 1}: {error.problem}")
    culprits = [word.removeprefix("++") for word in words if not _composes(configs, word)]
    culprit = f"{culprits[0]}: " if culprits and culprits[0] not in text else ""
    text = re.sub(r"\s*(See https\S+|To append to your config) .*", "", text)
    return RefusedError(" ".join(f"{culprit}{text} {error.__cause__ or ''}".split()))


def _without_key(word: str, words: list[str]) -> RefusedError:
    """Refuse a word without `=`; for evaluate.py and predict.py, suggest `run=` or `input=`."""
    script, has_run = Path(sys.argv[0]).stem, any(each.lstrip("+").startswith("run=") for each in words)
    key = {"evaluate": "run", "predict": "input" if has_run else "run"}.get(script)
    return RefusedError(f"{word}: expected key=value" + (f"; did you mean {key}={word}?" if key else ""))


def unknown_flag(message: str, words: list[str], keys: list[str]) -> RefusedError:
    """Refuse a flag that argparse rejects; for an option such as `--epochs 5`, name the key to use."""
    flag = re.search(r"unrecognized arguments: -+([A-Za-z][\w.-]*)(=\S*)?", message)
    name = flag[1].replace("-", "_") if flag else ""
    near = [key for key in keys if key == name or is_meant(name, key)] or difflib.get_close_matches(name, keys, 1, 0.8)
    if not flag or not near:
        return RefusedError(f"{message}; --help lists the flags and keys")
    typed = next(word for word in words if word.lstrip("-").startswith(flag[1]))
    value = flag[2] or next((f"={word}" for word in words[words.index(typed) + 1 :][:1] if word[0] != "-"), "=…")
    return RefusedError(f"{typed}: no such option; a key is given without dashes: {near[0]}{value}")


def _composes(configs: Path, word: str) -> bool:
    """Return True if Hydra composes the config with this override alone."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(configs), version_base="1.3"):
        try:
            compose("train", [word])
        except Exception:
            return False
        return True


def with_file(error: RefusedError) -> RefusedError:
    """Add the file and line that set the key, unless the command line did."""
    key = error.key
    if key is None or not HydraConfig.initialized():
        return error
    typed = {override.key for override in overrides()}
    above = {each for each in typed if f"{key}.".startswith(f"{each}.")}  # the key, a node with it, or its group
    if any(each == key or "." in each for each in above) or (typed & {"run", "rerun"} and not above):
        return error  # the value comes from the command line, or from the config of that run
    folder = configs_folder()
    for path, inner in _files_that_may_set(key, folder):
        if path.is_file() and (line := line_of(inner, path)):
            return RefusedError(f"{error} ({path.relative_to(folder.parent).as_posix()}:{line})", key)
    return error


def _files_that_may_set(key: str, folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the composed files that may set `key`, the one that takes precedence first, each with the key in it."""
    hydra = HydraConfig.get()
    words: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folder), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        composed = loader.compute_defaults_list(hydra.job.config_name, words, RunMode.RUN).defaults
    for each in reversed(composed):
        package = f"{each.package}." if each.package else ""
        if key.startswith(package):
            yield folder / f"{each.config_path}.yaml", key.removeprefix(package)
