"""provenance.json: what is needed to know where a run came from. No environment variables, users or tokens."""

import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from .run_folder import RunFolder, write_json

PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy", "scikit-learn")


def write_end(folder: RunFolder) -> None:
    """Add the time at which the run ended."""
    write_json(folder.provenance, {**json.loads(folder.provenance.read_text(encoding="utf-8")), "end": _now()})


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_provenance(folder: RunFolder, cfg: DictConfig, overrides: list[str], fingerprint: str) -> None:
    """Write what is known at the start, and the uncommitted changes as `changes.patch`."""
    commit, patch = _git("rev-parse", "HEAD"), _git("diff", "HEAD")
    if patch:
        (folder.path / "changes.patch").write_text(patch + "\n", encoding="utf-8")
    content = {
        "command": shlex.join(["python", Path(sys.argv[0]).name, *overrides]),
        "overrides": overrides,
        "seed": cfg.seed,
        "config_sha256": hashlib.sha256(OmegaConf.to_yaml(cfg).encode()).hexdigest(),
        "data_sha256": fingerprint,
        "git": {"commit": commit, "dirty": bool(patch)} if commit else None,
        "python": platform.python_version(),
        "os": platform.platform(),
        "cpu": {"name": _cpu_name(), "cores": os.cpu_count()},
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "start": _now(),
    }
    write_json(folder.provenance, content)


def _git(*command: str) -> str | None:
    """The output of a git command, or None where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *command], capture_output=True, text=True, check=True, encoding="utf-8")
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE) if info.exists() else []
    return names[0] if names else platform.processor()
