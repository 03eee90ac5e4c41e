"""SIGINT (Ctrl-C) and SIGTERM: the step in progress ends, the state is saved; a second Ctrl-C stops at once."""

import signal
import sys
import threading
from types import FrameType

from .errors import StoppedError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Which signal has come. `gentle` while something is there that will look at it and stop; else it stops at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.gentle = False

    def listen(self) -> None:
        """Take the signals over, as far as this thread may."""
        if threading.current_thread() is threading.main_thread():
            for each in SIGNALS:
                if signal.getsignal(each) is not signal.SIG_IGN:  # what a shell starts in the background ignores Ctrl-C
                    signal.signal(each, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        again = self.received is not None
        if not self.gentle or (again and signum == signal.SIGINT):
            raise StoppedError(signum)
        self.received = signum
        if not again:
            print("\nStopping after this step, to save the state; Ctrl-C stops at once.", file=sys.stderr)
