"""What a command says where it does not work: its help, and refusals in words."""

import ast
import difflib
import json
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from ..errors import INSTALL, RefusedError, is_meant, is_own, refusal
from ..run_folder.folder import overrides
from .runs import CHANGEABLE
from .sources import configs_folder, defaults_of, line_of, read_config

FLAGS = {
    "--check": "only check the command: exit status 0, or 2 and a line that says what is wrong",
    "--traceback": "show where in the code an error or a refusal came from",
    "--cfg job": "print the whole config in place of running",
    "--multirun": "run each combination of values: seed=0,1,2 trainer.max_epochs=5,10",
    "--shell-completion": 'in bash: eval "$(python train.py --shell-completion install=bash)"',
}
# As the template writes them: no escapes but \" and \\, so that what is between the marks is JSON too.
IN_PYPROJECT = re.compile(r'^(name|description) = ("(?:[^"\\]|\\["\\])*")', re.MULTILINE)
LAUNCHERS = ("joblib", "submitit", "ray", "rq")
SWEEPS = "chooses by what a run returns, and a run returns nothing; give each value: --multirun seed=0,1,2"
IN_PYTHON = re.compile(r'^    "(\w+)": "?(.*?)"?,  # (.*)$', re.MULTILINE)


def show_help(script: Path) -> None:
    """Print it; `--help | head` ends quietly where its reader has seen enough."""
    try:
        print(help_text(script), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is flushed at exit goes there


def help_text(script: Path) -> str:
    """The docstring of `script`, then what configs/ offers: nothing is composed, so it comes at once."""
    source = script.read_text(encoding="utf-8")
    about = ast.get_docstring(ast.parse(source), clean=False) or ""
    folder = script.resolve().parent / "configs"
    written = (folder / "train.yaml").read_text(encoding="utf-8")
    entries = [entry for entry in defaults_of(read_config(folder / "train.yaml")) if isinstance(entry, dict)]
    groups = {group: chosen for entry in entries for group, chosen in entry.items()}
    keys = list(_keys(written.splitlines(), yaml.compose(written)))
    if own := IN_PYTHON.findall(source):
        keys = [(key, value.replace("None", "null").replace("???", "needed"), comment) for key, value, comment in own]
        groups = dict.fromkeys(CHANGEABLE)
    parts = {
        "Groups, a folder of configs/ each (* is the default):": [_group(folder / key, groups[key]) for key in groups],
        "Keys and their defaults:": [_row(key, f"{value:<12}{comment}", 12) for key, value, comment in keys],
        "Every other key that `--cfg job` shows can be set as well. Flags:": [_row(*flag) for flag in FLAGS.items()],
    }
    sections = ("\n".join([title, *filter(None, rows)]) for title, rows in parts.items())
    return "\n\n".join(filter(None, (_project(script.with_name("pyproject.toml")), about.strip(), *sections)))


def _project(pyproject: Path) -> str:
    """Name and description of the project, where pyproject.toml has them in double quotes: the first of each."""
    pairs = IN_PYPROJECT.findall(pyproject.read_text(encoding="utf-8")) if pyproject.is_file() else []
    texts = dict(reversed(pairs))
    return ": ".join(json.loads(texts[key], strict=False) for key in ("name", "description") if key in texts)


def _keys(lines: list[str], node: yaml.Node | None, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Key, value and comment of each line of train.yaml that has one; what concerns Hydra alone is left out."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value not in ("defaults", "hydra"):
            yield from _keys(lines, value, f"{path}{key.value}.")
            comment = lines[key.start_mark.line].partition(" # ")[2]
            if isinstance(value, yaml.ScalarNode) and comment:
                yield f"{path}{key.value}", value.value, comment


def _group(folder: Path, chosen: str | list[str] | None) -> str:
    defaults = chosen if isinstance(chosen, list) else [chosen]
    names = [f"{file.stem}{'*' * (file.stem in defaults)}" for file in sorted(folder.glob("*.yaml"))]
    return _row(folder.name, ", ".join(names)) if names else ""


def _row(name: str, text: str, indent: int = 0) -> str:
    return textwrap.fill(f"  {name:<29}{text}", width=110, subsequent_indent=" " * (31 + indent))


def explained(error: Exception, words: list[str], configs: Path) -> Exception:
    """`error`, raised while the config was composed, as a RefusedError of one line; one of our own as it is."""
    if isinstance(error, RefusedError):
        return with_file(error)
    if is_own(Path(traceback.extract_tb(error.__traceback__)[-1].filename)):
        return error  # a mistake of this project's, not of the command
    text = re.sub(r"(^|['\s])\+\+", r"\1", str(error))
    if "LexerNoViableAlt" in text or "token recognition" in text:
        word = next((word.removeprefix("++") for word in words if not _composes(configs, word)), "")
        key, _, value = word.partition("=")
        whole = " (and ~ is not your home folder here)" if "~" in value else ""
        return RefusedError(" ".join(f"{word}: can't be parsed; quote the value: \"{key}='{value}'\"{whole}".split()))
    if "missing EQUAL" in text and (bare := [word for word in words if "=" not in word and word[:1] not in ("~", "-")]):
        return _without_key(bare[0], words)
    if missing := re.search(r"Could not (?:find|load) '(.+)/(.+?)'", text):
        group, option = missing.groups()
        if group == "hydra/sweeper":
            return RefusedError(f"hydra/sweeper={option}: {SWEEPS}")
        if group == "hydra/launcher" and (package := option.partition("_")[0]) in LAUNCHERS:
            return RefusedError(f"{group}={option}: is not installed: {INSTALL} hydra-{package}-launcher")
        there = sorted(file.stem for file in (configs / group).glob("*.yaml"))
        there = there or ["basic"] * (group == "hydra/launcher")
        return refusal(group, option, f"expected {', '.join(there)}" if there else "no such group", there, option)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return RefusedError(f"{error.problem_mark.name}:{error.problem_mark.line + 1}: {error.problem}")
    culprits = [word.removeprefix("++") for word in words if not _composes(configs, word)]
    culprit = f"{culprits[0]}: " if culprits and culprits[0] not in text else ""
    text = re.sub(r"\s*(See https\S+|To append to your config) .*", "", text)
    return RefusedError(" ".join(f"{culprit}{text} {error.__cause__ or ''}".split()))


def _without_key(word: str, words: list[str]) -> RefusedError:
    """Refuses a word that is no `key=value`; evaluate.py and predict.py know what a path is meant to be."""
    script, has_run = Path(sys.argv[0]).stem, any(each.lstrip("+").startswith("run=") for each in words)
    key = {"evaluate": "run", "predict": "input" if has_run else "run"}.get(script)
    return RefusedError(f"{word}: expected key=value" + (f"; did you mean {key}={word}?" if key else ""))


def unknown_flag(message: str, words: list[str], keys: list[str]) -> RefusedError:
    """Refuses what argparse does not take: an option such as `--epochs 5` is answered with the key that it means."""
    flag = re.search(r"unrecognized arguments: -+([A-Za-z][\w.-]*)(=\S*)?", message)
    name = flag[1].replace("-", "_") if flag else ""
    near = [key for key in keys if key == name or is_meant(name, key)] or difflib.get_close_matches(name, keys, 1, 0.8)
    if not flag or not near:
        return RefusedError(f"{message}; --help lists what there is")
    typed = next(word for word in words if word.lstrip("-").startswith(flag[1]))
    value = flag[2] or next((f"={word}" for word in words[words.index(typed) + 1 :][:1] if word[0] != "-"), "=…")
    return RefusedError(f"{typed}: no such option; a key is given without dashes: {near[0]}{value}")


def _composes(configs: Path, word: str) -> bool:
    """Whether Hydra takes the override by itself."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(configs), version_base="1.3"):
        try:
            compose("train", [word])
        except Exception:
            return False
        return True


def with_file(error: RefusedError) -> RefusedError:
    """The same, with the file and line that set the key, where it was not the command line."""
    key = error.key
    if key is None or not HydraConfig.initialized() or any(_concerns(word, key) for word in overrides()):
        return error
    named = {word.lstrip("+~").partition("=")[0] for word in overrides()}
    if named & {"run", "rerun"} and key.partition(".")[0] not in named:  # it stands in the config of that run
        return error
    folder = configs_folder()
    for path, inner in _files_that_may_set(key, folder, HydraConfig.get().runtime.choices):
        if path.is_file() and (line := line_of(inner, path)):
            return RefusedError(f"{error} ({path.relative_to(folder.parent).as_posix()}:{line})", key)
    return error


def _concerns(word: str, key: str) -> bool:
    """Whether the override `word` sets `key` itself, or what it is within."""
    own = word.lstrip("+~").split("=")[0]
    return key == own or (key.startswith(f"{own}.") and f"{own}." != f"{key.split('.')[0]}.")


def _files_that_may_set(key: str, folder: Path, choices: dict[str, str]) -> Iterator[tuple[Path, str]]:
    """The composed files that may hold `key`, the one that has the last word first; each with the key in it."""
    group, _, inner = key.partition(".")
    yield folder / "experiment" / f"{choices.get('experiment')}.yaml", key
    if group in choices:
        path = folder / group / f"{choices[group]}.yaml"
        yield path, inner
        yield from ((folder / group / f"{base}.yaml", inner) for base in defaults_of(read_config(path)))
    else:
        names = _chosen(group, [folder / "experiment" / f"{choices.get('experiment')}.yaml", folder / "train.yaml"])
        yield from ((folder / group / f"{name}.yaml", inner) for name in reversed(names))
    yield folder / "train.yaml", key


def _chosen(group: str, files: list[Path]) -> list[str]:
    """The options of a list (callbacks), which Hydra does not tell: of the command line, or the first of `files`."""
    for word in reversed(overrides()):
        if word.lstrip("+").startswith(f"{group}="):
            return re.findall(r"[\w/-]+", word.partition("=")[2])
    entries = [entry for path in files if path.is_file() for entry in defaults_of(read_config(path))]
    chosen = [(str(key), value) for entry in entries if isinstance(entry, dict) for key, value in entry.items()]
    return next((value for key, value in chosen if key.split()[-1].strip("/") == group and isinstance(value, list)), [])
