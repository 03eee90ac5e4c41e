"""Handle Ctrl-C and SIGTERM: stop at once, or save first if a training is in progress."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from .errors import StoppedError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def ignore_signals(worker: int = 0) -> None:
    """Ignore signals in a DataLoader worker: one sent to the whole process group is for the training process.

    SIGTERM from the training process still ends the worker, if the system reports the sender.
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
    """Context manager that handles the signals and records the one `received`.

    `gentle` is True while a training checks `received` and stops by itself; otherwise a signal raises StoppedError.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.gentle = False
        self.alive = 0.0  # start of the last batch, by time.monotonic()
        self.process = os.getpid()
        self.before: dict[signal.Signals, Any] = {}  # the handlers outside `with`

    def __enter__(self) -> None:
        self.received, self.gentle, self.process = None, False, os.getpid()
        self.before = {each: signal.getsignal(each) for each in SIGNALS}
        self.listen()

    def __exit__(self, *error: object) -> None:
        self._set(self.before)

    def listen(self) -> None:
        """Install the handlers, again if others replaced them. A signal that the shell ignores stays ignored."""
        self._set({each: self._handle for each, was in self.before.items() if was is not signal.SIG_IGN})

    def _set(self, handlers: dict[signal.Signals, Any]) -> None:
        if threading.current_thread() is threading.main_thread():
            for each, handler in handlers.items():
                signal.signal(each, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # in a forked process
            return
        again = self.received is not None
        if not self.gentle or (again and signum == signal.SIGINT):
            raise StoppedError(signum)
        self.received = signum
        if not again:
            print("\nStopping after this step and its validation, to save; Ctrl-C stops at once.", file=sys.stderr)


stopping = Stopping()  # one for the process, as signals are
