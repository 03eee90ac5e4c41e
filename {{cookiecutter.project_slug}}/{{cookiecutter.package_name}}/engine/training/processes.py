"""The processes of one training: check how many there are, and end them together."""

import os
import signal
import socket
import sys
import threading
import time
from typing import Any

import torch
from pytorch_lightning.plugins.environments import LightningEnvironment

from ..errors import RefusedError, refusal
from ..logs import RANK_ENV, log, rank
from ..runs.checkpoint_files import how_to_resume
from ..runs.folder import RunFolder
from ..signals import SIGNALS, stopping
from . import lightning


def check_processes(trainer: Any) -> None:
    """Raises RefusedError for processes that would lose their metrics, or wait for others that never come."""
    method = getattr(trainer.strategy, "_start_method", "popen")
    if method != "popen":
        why = f"processes that are started by {method} take their metrics with them when they end; expected ddp"
        raise refusal("trainer.strategy", f"ddp_{method}", why)
    if trainer.world_size <= rank():
        cause = next(f"{key}={os.environ[key]}" for key in RANK_ENV if os.environ.get(key) == str(rank()))
        raise RefusedError(f"{cause}: this training has no process of that rank (trainer.devices, num_nodes); unset it")
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.num_nodes > 1 and isinstance(environment, LightningEnvironment):
        missing = [key for key in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if key not in os.environ]
        if missing:
            why = f"without torchrun or SLURM each node needs the environment variables {', '.join(missing)}"
            raise refusal("trainer.num_nodes", trainer.num_nodes, why)


def log_awaited_processes(trainer: Any) -> None:
    """Log the address if training waits for processes that this one does not start."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    started = trainer.num_devices if environment and not environment.creates_processes_externally else 1
    if environment and trainer.world_size > started:
        address = f"{environment.main_address}:{environment.main_port}"
        others = f"{trainer.world_size - started} of {trainer.world_size} processes"
        log.info(f"Waiting at {address} for the other {others}")


def is_lost_process(error: BaseException) -> bool:
    """True if an error means that another process of the training is gone; gloo's errors have no type of their own."""
    words = ("gloo", "Connection closed by peer", "Connection reset by peer")
    return isinstance(error, torch.distributed.DistError) or any(word in str(error) for word in words)


class Watch(threading.Thread):
    """Ends this process, with a message, if it would wait for ever for another one of the training.

    A process that waits in a collective can't be reached from Python, not even by a signal. So a thread watches the
    processes that this one has started, and reads signals from a pipe. Lightning's own thread kills without a message.
    """

    patience = 60.0  # seconds after a signal without a new batch
    grace = 3.0  # seconds for the main thread to report first

    def __init__(self, trainer: Any, folder: RunFolder) -> None:
        super().__init__(daemon=True, name="watch")
        self.trainer, self.folder, self.over = trainer, folder, threading.Event()
        self.parent = os.getppid()
        self.received: list[int] = []
        self.since: dict[str, float] = {}

    def __enter__(self) -> None:
        if self.trainer.world_size > 1:
            self.reader, self.writer = socket.socketpair()
            for end in (self.reader, self.writer):
                end.setblocking(False)
            signal.set_wakeup_fd(self.writer.fileno(), warn_on_full_buffer=False)
            self.start()

    def __exit__(self, *error: object) -> None:
        if self.trainer.world_size > 1:
            self.over.set()
            signal.set_wakeup_fd(-1)

    def run(self) -> None:
        while not self.over.wait(0.2):
            self._read_signals()
            if self.received:
                patience = self.grace if self.received.count(signal.SIGINT) > 1 else self.patience
                waited = time.monotonic() - max(self.since["signal"], stopping.alive)
                if waited > patience:
                    message = f"Stopped: another process of the training has not answered for {waited:.0f} s."
                    self._end(128 + self.received[0], message)
            if message := self._lost_process():
                since = self.since.setdefault("lost", time.monotonic())
                if time.monotonic() - since > self.grace:
                    self._end(1, message)

    def _read_signals(self) -> None:
        try:
            received = [number for number in self.reader.recv(64) if number in SIGNALS]
        except BlockingIOError:
            return
        if received:
            self.since.setdefault("signal", time.monotonic())
            self.received += received

    def _lost_process(self) -> str:
        """Return which process has failed, in words; "" if none has. One that stops after a signal has not failed."""
        lightning.end_observer()
        if rank() > 0 and os.getppid() != self.parent:
            return "The first process of the training has ended."
        for number, process in enumerate(getattr(self.trainer.strategy.launcher, "procs", []), 1):
            if process.poll() and not (self.received and process.returncode in (128 + each for each in self.received)):
                return f"Process {number} of the training has ended with status {process.returncode}."
        return ""

    def _end(self, status: int, message: str) -> None:
        if rank() == 0:
            print(f"{message} {how_to_resume(self.folder)}", file=sys.stderr, flush=True)
            for process in getattr(self.trainer.strategy.launcher, "procs", []):
                process.kill()
            self.folder.lock.unlink(missing_ok=True)
        os._exit(status)
