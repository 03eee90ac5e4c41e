"""The log of a run: one line per message, on the terminal and in train.log. Only rank 0 logs at INFO."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import printable

RANK_ENV = ("RANK", "SLURM_PROCID", "LOCAL_RANK")


def rank() -> int:
    """Return the rank of this process, from the variables of Lightning, torchrun and SLURM."""
    values = (os.environ.get(key, "") for key in RANK_ENV)
    return max((int(text) for text in values if text.strip().isdecimal()), default=0)


log = logging.getLogger(__package__)
warnings_log = logging.getLogger("py.warnings")

# Advice of Lightning that does not apply here (data in memory needs no workers), and internal deprecations.
IGNORED_WARNINGS = (
    ".*does not have many workers.*",
    ".*is smaller than the logging interval.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*LeafSpec.*is deprecated.*",
    ".*Consider setting `persistent_workers=True`.*",
    ".*srun. command is available.*",
)


class OneLine(logging.Formatter):
    """Formats each record as one line, whatever names it contains; see `printable`."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record).rstrip("\n"))


def one_line_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Format a warning in one line; Python's default adds the source line."""
    return printable(f"{filename}:{lineno}: {category.__name__}: {' '.join(str(message).split())}") + "\n"


def start_log(path: Path | None = None) -> None:
    """Log to the console and, if given, to the file `path`."""
    for text in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", text)
    for name in (
        "pytorch_lightning.utilities.rank_zero",
        "pytorch_lightning.accelerators.cuda",
        "lightning_fabric.utilities.distributed",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger().setLevel(logging.WARNING)  # matplotlib and others log about themselves at INFO
    logging.raiseExceptions = False  # the save that fails reports a full disk
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
        warnings_log.addHandler(file)
        warnings_log.propagate = False
        logging.captureWarnings(True)


@contextmanager
def quiet(silent: bool) -> Iterator[None]:
    """Context manager that logs only errors if `silent`."""
    level = log.level
    log.setLevel(logging.ERROR if silent else level)
    try:
        yield
    finally:
        log.setLevel(level)


def log_to_file(line: str) -> None:
    """Write a line that the console has already shown to the log file, if there is one."""
    for handler in log.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.emit(logging.LogRecord(log.name, logging.ERROR, "", 0, line, None, None))


def end_log_file() -> None:
    """Close the log file, if there is one."""
    for logger in (log, warnings_log):
        for handler in [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]:
            handler.close()
            logger.removeHandler(handler)
