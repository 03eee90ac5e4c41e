"""Ctrl-C and SIGTERM: stop at once, or gently where a training can save first."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from .errors import StoppedError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def leave_signals(worker: int = 0) -> None:
    """For a DataLoader's worker: a signal to the whole group is for the training process, which still needs it.

    Where the system tells who sent it, SIGTERM ends the worker if it was that process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


class Stopping:
    """Takes the signals over within `with`, and says which has come.

    `gentle` is set while something is there that looks at `received` and stops; else a signal raises StoppedError.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.gentle = False
        self.alive = 0.0  # when the last batch was begun, by time.monotonic()
        self.process = os.getpid()
        self.before: dict[signal.Signals, Any] = {}  # the handlers outside `with`

    def __enter__(self) -> None:
        self.received, self.gentle, self.process = None, False, os.getpid()
        self.before = {each: signal.getsignal(each) for each in SIGNALS}
        self.listen()

    def __exit__(self, *error: object) -> None:
        self._set(self.before)

    def listen(self) -> None:
        """Take the signals, also from who has taken them since; Ctrl-C stays ignored where a shell ignores it."""
        self._set({each: self._handle for each, was in self.before.items() if was is not signal.SIG_IGN})

    def _set(self, handlers: dict[signal.Signals, Any]) -> None:
        if threading.current_thread() is threading.main_thread():
            for each, handler in handlers.items():
                signal.signal(each, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # one that was forked from it
            return
        again = self.received is not None
        if not self.gentle or (again and signum == signal.SIGINT):
            raise StoppedError(signum)
        self.received = signum
        if not again:
            print("\nStopping after this step and its validation, to save; Ctrl-C stops at once.", file=sys.stderr)


stopping = Stopping()  # signals are the process's
