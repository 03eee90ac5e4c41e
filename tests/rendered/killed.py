"""Trainings in processes of their own that are really killed, and the state in which a run ends, bit by bit."""

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
# Each process is forked from one that has imported what takes long, and checked a command.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["warm"])

STEP = "pytorch_lightning.loops.training_epoch_loop:_TrainingEpochLoop.advance"


class At(NamedTuple):
    """What happens at the `call`-th call of a function, `module:Class.name`.

    kill: SIGKILL; wait: until the file `waits` is removed; nan: what it returns is multiplied by NaN.
    """

    function: str
    call: int = 1
    action: Literal["kill", "wait", "nan"] = "kill"


def start(folder: Path, *words: str, at: At | None = None) -> Any:
    """`python train.py <words>` in `folder`; what it says is added to said.txt there."""
    process = PROCESSES.Process(target=_train, args=(str(ROOT), str(folder), words, at))
    before = Path.cwd()
    os.chdir(Path(__file__).parent)  # the first one starts the process to fork from, which looks for warm.py here
    try:
        process.start()
    finally:
        os.chdir(before)
    return process


def train(folder: Path, *words: str, at: At | None = None) -> tuple[int, str]:
    """Exit status, -9 where it was killed, and what this process has said."""
    said = folder / "said.txt"
    before = len(said.read_text(encoding="utf-8")) if said.exists() else 0
    process = start(folder, *words, at=at)
    process.join()
    return process.exitcode, said.read_text(encoding="utf-8")[before:]


def waiting(folder: Path, *words: str, at: At) -> Any:
    """A process that has come to `at`, and waits there."""
    (folder / "waits").unlink(missing_ok=True)
    process = start(folder, *words, at=at)
    while not (folder / "waits").exists():
        assert process.is_alive(), (folder / "said.txt").read_text(encoding="utf-8")
        time.sleep(0.02)
    return process


def go_on(process: Any, folder: Path) -> tuple[int, str]:
    """Let it go on to its end; exit status, and all that was said in `folder`."""
    (folder / "waits").unlink()
    process.join()
    return process.exitcode, (folder / "said.txt").read_text(encoding="utf-8")


def _train(root: str, folder: str, words: tuple[str, ...], at: At | None) -> None:
    os.chdir(folder)
    sys.path.insert(0, root)
    sys.argv = [f"{root}/train.py", *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
    multiprocessing.set_start_method(None, force=True)  # the platform's own, for the workers of a DataLoader
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
    """A digest of each tensor, number and word that a finished run leaves, by its place."""
    state: dict[str, str] = {}
    for name in ("last", "best"):
        checkpoint = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        del checkpoint["loops"]  # counts, among them one of validation batches, which differs and which nothing reads
        callbacks = checkpoint["callbacks"]  # a ModelCheckpoint says its run's folder
        checkpoint["callbacks"] = {key: value for key, value in callbacks.items() if "ModelCheckpoint" not in key}
        for place, value in leaves(checkpoint, name):
            raw = value.contiguous().flatten().numpy().tobytes() if torch.is_tensor(value) else repr(value).encode()
            state[place] = hashlib.sha256(raw).hexdigest()
    for file in ("metrics.csv", "metrics.json"):
        state[file] = (run / file).read_text(encoding="utf-8")
    return state


def leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Each end of nested dicts and lists, with its place."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from leaves(part, f"{place}[{number}]")
    else:
        yield place, value


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The places at which two runs did not end in the same bits."""
    return [place for place in {**one, **other} if one.get(place) != other.get(place)]
