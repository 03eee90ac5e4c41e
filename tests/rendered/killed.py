"""Run trainings in processes of their own and kill them for real; compare the final states of runs bit by bit."""

import contextlib
import hashlib
import importlib
import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "my_project"
# Each process is forked from one that has done the slow imports, and checked a command.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["warm"])

STEP = "pytorch_lightning.loops.training_epoch_loop:_TrainingEpochLoop.advance"


class At(NamedTuple):
    """An action at the `call`-th call of a function, `module:Class.name`.

    kill: SIGKILL; wait: until the file `waits` is removed; nan: multiply the return value by NaN.
    """

    function: str
    call: int = 1
    action: Literal["kill", "wait", "nan"] = "kill"


def start(folder: Path, *words: str, at: At | None = None) -> Any:
    """Start `python train.py <words>` in `folder`; its output is appended to said.txt there."""
    process = PROCESSES.Process(target=_train, args=(str(ROOT), str(folder), words, at))
    before = Path.cwd()
    os.chdir(Path(__file__).parent)  # the first call starts the process to fork from, which looks for warm.py here
    try:
        process.start()
    finally:
        os.chdir(before)
    return process


def train(folder: Path, *words: str, at: At | None = None) -> tuple[int, str]:
    """Train; returns the exit status, -9 if killed, and the output of this process."""
    said = folder / "said.txt"
    before = len(said.read_text(encoding="utf-8")) if said.exists() else 0
    process = start(folder, *words, at=at)
    process.join()
    return process.exitcode, said.read_text(encoding="utf-8")[before:]


def waiting(folder: Path, *words: str, at: At) -> Any:
    """Start a process that reaches `at` and waits there."""
    (folder / "waits").unlink(missing_ok=True)
    process = start(folder, *words, at=at)
    while not (folder / "waits").exists():
        assert process.is_alive(), (folder / "said.txt").read_text(encoding="utf-8")
        time.sleep(0.02)
    return process


def let_finish(process: Any, folder: Path) -> tuple[int, str]:
    """Let a waiting process run to its end; returns the exit status and all output in `folder`."""
    (folder / "waits").unlink()
    process.join()
    return process.exitcode, (folder / "said.txt").read_text(encoding="utf-8")


def _train(root: str, folder: str, words: tuple[str, ...], at: At | None) -> None:
    os.chdir(folder)
    sys.path.insert(0, root)
    sys.argv = [f"{root}/train.py", *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell makes background processes ignore it
    multiprocessing.set_start_method(None, force=True)  # the platform's default, for the workers of a DataLoader
    torch.set_num_threads(1)
    if at is not None:
        _arm(at)
    with open("said.txt", "a", encoding="utf-8", buffering=1) as said, contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(said))
        stack.enter_context(contextlib.redirect_stderr(said))
        runpy.run_path(sys.argv[0], run_name="__main__")


def _arm(at: At) -> None:
    module, _, path = at.function.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    original = getattr(owner, name)
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at.call and at.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif calls == at.call and at.action == "wait":
            Path("waits").touch()
            while Path("waits").exists():
                time.sleep(0.02)
        result = original(*args, **kwargs)
        return result * float("nan") if calls == at.call and at.action == "nan" else result

    setattr(owner, name, counted)


def final_state(run: Path) -> dict[str, str]:
    """Return a digest of each tensor, number and string that a finished run leaves, by its path."""
    state: dict[str, str] = {}
    for name in ("last", "best"):
        checkpoint = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        del checkpoint["loops"]  # counters; that of validation batches differs, and nothing reads it
        callbacks = checkpoint["callbacks"]  # the state of a ModelCheckpoint names its run folder
        checkpoint["callbacks"] = {key: value for key, value in callbacks.items() if "ModelCheckpoint" not in key}
        for place, value in leaves(checkpoint, name):
            raw = value.contiguous().flatten().numpy().tobytes() if torch.is_tensor(value) else repr(value).encode()
            state[place] = hashlib.sha256(raw).hexdigest()
    for file in ("metrics.csv", "metrics.json"):
        state[file] = (run / file).read_text(encoding="utf-8")
    return state


def leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield each leaf of nested dicts and lists, with its path."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from leaves(part, f"{place}[{number}]")
    else:
        yield place, value


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return the paths at which the final states of two runs are not bit-identical."""
    return [place for place in {**one, **other} if one.get(place) != other.get(place)]
