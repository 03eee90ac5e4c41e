"""The log of a run: one line per message on the terminal and in train.log; rank 0 alone writes."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import printable

RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")


def rank() -> int:
    """Rank of this process, as Lightning, torchrun and SLURM tell it."""
    said = (os.environ.get(key, "") for key in RANKS)
    return max((int(text) for text in said if text.strip().isdecimal()), default=0)


log = logging.getLogger(__package__)
warned = logging.getLogger("py.warnings")

# Lightning's advice that does not hold here: data in memory needs no workers, and the advertisements.
QUIET = (
    ".*does not have many workers.*",
    ".*is smaller than the logging interval.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*LeafSpec.*is deprecated.*",
    ".*Consider setting `persistent_workers=True`.*",
    ".*srun. command is available.*",
)


class OneLine(logging.Formatter):
    """A record is one line, whatever the names in it hold; see `printable`."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record).rstrip("\n"))


def one_line_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """In place of Python's own two lines, of which the second repeats the source."""
    return printable(f"{filename}:{lineno}: {category.__name__}: {' '.join(str(message).split())}") + "\n"


def start_log(path: Path | None = None) -> None:
    """Show the log on the console, and keep it in `path` as well where one is given."""
    for text in QUIET:
        warnings.filterwarnings("ignore", text)
    for name in (
        "pytorch_lightning.utilities.rank_zero",
        "pytorch_lightning.accelerators.cuda",
        "lightning_fabric.utilities.distributed",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger().setLevel(logging.WARNING)  # matplotlib and others tell of themselves at INFO
    logging.raiseExceptions = False  # a full disk is reported by what fails to save there
    log.setLevel(logging.INFO if rank() == 0 else logging.WARNING)
    log.propagate = False
    end_log_file()
    log.handlers = [logging.StreamHandler(sys.stdout)]
    log.handlers[0].setFormatter(OneLine())
    warnings.formatwarning = one_line_warning
    if path is not None:
        file = logging.FileHandler(path, encoding="utf-8")
        file.setFormatter(OneLine("%(asctime)s %(message)s"))
        log.addHandler(file)
        warned.addHandler(file)
        warned.propagate = False
        logging.captureWarnings(True)


@contextmanager
def quiet(silent: bool) -> Iterator[None]:
    """Within it, where `silent`, the log shows errors alone."""
    level = log.level
    log.setLevel(logging.ERROR if silent else level)
    try:
        yield
    finally:
        log.setLevel(level)


def end_log_file() -> None:
    """Close the file that the log is kept in, if there is one."""
    for logger in (log, warned):
        for handler in [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]:
            handler.close()
            logger.removeHandler(handler)
