"""config.yaml and provenance.json: where a run came from, without environment variables, user names or tokens."""

import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..errors import PACKAGE_FOLDER, RefusedError
from ..files import now, write_json, write_text
from ..plain import read_json
from .folder import RUNS, RunFolder, moved

PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy", "scikit-learn")
SECRET_PATTERN = re.compile(r"((?:token|secret|passw|api_?key|credential)\w*\s*[=:]\s*)[^,}\s]+", re.IGNORECASE)
LOGIN_PATTERN = re.compile(r"://[^/@\s]+@")
HOME_PATTERN = re.compile(r"/(?:home|Users)/[^/\s]+")
# Keys that do not affect the result.
NEUTRAL = ("name", "rerun", "resume", "save_minutes")
# Keys that are compared, and their names in messages: those of the order of the data when a run is resumed, all when
# it is repeated.
DATA_ORDER = {"data_sha256": "training data", "processes": "number of processes"}
ENVIRONMENT = {
    "code_sha256": "code", "git": "git", "python": "Python", "packages": "packages", "os": "system", "cpu": "CPU",
    "gpus": "GPUs",
}  # fmt: skip


def describe_origin(cfg: DictConfig, overrides: list[str], fingerprint: str, processes: int) -> dict[str, Any]:
    """Return what a run depends on: command, config, code, data, versions, machine."""
    import torch  # only where a run is trained: this file is also read without it

    words = [_without_secrets(word) for word in overrides]
    config = {key: value for key, value in _without_name(cfg).items() if key not in NEUTRAL}
    untracked = (_git("ls-files", "--others", "--exclude-standard") or "").splitlines()
    commit, patch = _git("rev-parse", "HEAD"), _git("diff", "HEAD")
    return {
        "command": shlex.join(["python", Path(sys.argv[0]).name, *words]),
        "overrides": words,
        "seed": cfg.seed,
        "config_sha256": _digest(config),
        "seedless_sha256": _digest(_without_seed(config, cfg.seed)),
        "data_sha256": fingerprint,
        "processes": processes,
        "code_sha256": _hash_of_code(),
        "git": {"commit": commit, "dirty": bool(patch), "untracked": untracked} if commit else {},
        "python": platform.python_version(),
        "os": platform.platform(),
        "cpu": {"name": _cpu_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def record_start(run: RunFolder, origin: dict[str, Any]) -> None:
    """Write provenance.json, and uncommitted changes as changes.patch.

    For a resumed run, append the time and what changed since it began.
    """
    if run.continued:
        began = read_provenance(run) if run.provenance.exists() else {**origin, "start": None}  # resume=inexact
        resumed = began["resumed"] if isinstance(began.get("resumed"), list) else []
        again = {"time": now(), "command": origin["command"], "changed": changes(began, origin)}
        write_json(run.provenance, {**began, "resumed": [*resumed, again]})
        return
    if patch := _git("diff", "HEAD"):
        write_text(run.path / "changes.patch", patch + "\n")
    write_json(run.provenance, {**origin, "start": now(), "resumed": []})


def record_end(run: RunFolder) -> None:
    """Add the end time to provenance.json."""
    write_json(run.provenance, {**read_provenance(run), "end": now()})


def read_provenance(run: RunFolder) -> dict[str, Any]:
    """Return the contents of provenance.json. Raises RefusedError if it can't be read."""
    content = read_json(run.provenance)
    if not isinstance(content, dict):
        raise RefusedError(f"{run.provenance.as_posix()} is not the provenance of a run")
    return content


def check_same_order(run: RunFolder, origin: dict[str, Any]) -> None:
    """Raises RefusedError if the data or the number of processes has changed since the run began."""
    began = read_provenance(run)
    for key, name in DATA_ORDER.items():
        if began.get(key) != origin[key]:
            values = f" (then {began.get(key)}, now {origin[key]})" if key == "processes" else ""
            raise RefusedError(
                f"name={run.name}: the {name} changed since the run began{values}, so it can't resume exactly; "
                "resume=inexact resumes anyway"
            )


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Any]]:
    """Return what differs between the origins of two runs in code, data, versions and machine: {name: [old, new]}."""
    differing: dict[str, list[Any]] = {}
    for key, name in {**DATA_ORDER, **ENVIRONMENT}.items():
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            pairs = {part: [old.get(part), new.get(part)] for part in {**old, **new}}
            prefix = "" if key == "packages" else f"{name} "
            differing.update({f"{prefix}{part}": pair for part, pair in pairs.items() if pair[0] != pair[1]})
        elif old != new:
            differing[name] = [old, new]
    return differing


def write_config(cfg: DictConfig, run: RunFolder) -> None:
    """Write the config with everything resolved: nothing read from a run folder is interpolated."""
    write_text(run.config, OmegaConf.to_yaml(OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))))


def _without_name(cfg: DictConfig) -> dict[str, Any]:
    """Return the config as plain values, with `${name}` in place of the run's name."""
    plain: Any = OmegaConf.to_container(OmegaConf.merge(cfg, {"name": r"\${name}"}), resolve=True)
    return moved(plain, RUNS / str(cfg.name), RUNS / "${name}")  # a rerun's paths no longer hold ${name}


def _without_seed(value: Any, seed: int) -> Any:
    """Return plain values without the run's seed, wherever a key called `seed` holds it."""
    if not isinstance(value, dict):
        return value
    return {key: _without_seed(part, seed) for key, part in value.items() if key != "seed" or part != seed}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _without_secrets(override: str) -> str:
    """Hide the value of a token, a password in an address, and the name of a home folder."""
    override = LOGIN_PATTERN.sub("://***@", SECRET_PATTERN.sub(r"\1***", override))
    return HOME_PATTERN.sub("~", override.replace(str(Path.home()), "~"))


def _hash_of_code() -> str:
    """Return the SHA-256 of the package's Python files."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE_FOLDER.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE_FOLDER).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _git(*command: str) -> str | None:
    """Return the output of a git command, or None if there is no git or no repository."""
    try:
        done = subprocess.run(["git", *command], capture_output=True, check=True, cwd=PACKAGE_FOLDER.parent)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode(errors="replace").strip()


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE) if info.exists() else []
    return names[0] if names else platform.processor()
