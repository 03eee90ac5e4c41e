"""The memory and the cores that this process may use, in containers and cluster jobs too."""

import contextlib
import os
from pathlib import Path

import psutil

# Files with limit and use of a control group, in version 2 and version 1: https://docs.kernel.org/admin-guide/cgroup-v2
GROUP_FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


def free_memory(system: Path = Path("/")) -> int:
    """Return the bytes of memory that are free: of the machine, or of the control group that limits this process."""
    return min([psutil.virtual_memory().available, *_free_in_groups(system)])


def _free_in_groups(system: Path) -> list[int]:
    mounted = system / "sys/fs/cgroup"
    try:
        lines = (system / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return []
    free = []
    for _, controllers, name in (line.split(":", 2) for line in lines):
        if controllers not in ("", "memory"):
            continue
        top = mounted / controllers
        folder = top / name.lstrip("/")
        for group in (folder, *folder.parents):
            if group.is_relative_to(top):
                free += [_free_in_group(group, *files) for files in GROUP_FILES if (group / files[0]).is_file()]
    return [each for each in free if each is not None]


def _free_in_group(group: Path, limit_file: str, use_file: str) -> int | None:
    """Return the free bytes of a control group, cached files included; None without a limit."""
    try:
        limit, used = ((group / name).read_text().strip() for name in (limit_file, use_file))
        pairs = [line.split() for line in (group / "memory.stat").read_text().splitlines()]
        cached = {name: int(value) for name, value in pairs}
        held = int(used) - cached.get("total_inactive_file", cached.get("inactive_file", 0))
        return None if limit == "max" else max(0, int(limit) - held)
    except (OSError, ValueError):
        return None


def cores(system: Path = Path("/")) -> int:
    """Return the number of cores that this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # not Linux; "max", without a limit
        quota, period = map(int, (system / "sys/fs/cgroup/cpu.max").read_text().split())
        allowed = max(1, min(allowed, -(-quota // period)))
    return allowed


def processes_here() -> int:
    """Return how many processes of a training share this machine, as far as their launcher says."""
    given = (os.environ.get(name, "") for name in ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE", "WORLD_SIZE"))
    return next((max(1, int(number)) for number in given if number.isdigit()), 1)
