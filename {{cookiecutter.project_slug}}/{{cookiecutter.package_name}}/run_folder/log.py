"""The log of a command, on the console and in train.log, without warnings that a person can do nothing about."""

import logging
import sys
import warnings
from pathlib import Path

from .folder import rank

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


def start_log(path: Path | None = None) -> None:
    """Show the log on the console, and keep it in `path` as well where one is given."""
    for text in QUIET:
        warnings.filterwarnings("ignore", text)
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger().setLevel(logging.WARNING)  # matplotlib and others tell of themselves at INFO
    logging.raiseExceptions = False  # a full disk is reported by what fails to save there
    log.setLevel(logging.INFO if rank() == 0 else logging.WARNING)
    log.propagate = False
    end_log_file()
    log.handlers = [logging.StreamHandler(sys.stdout)]
    if path is not None:
        file = logging.FileHandler(path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(file)
        warned.addHandler(file)
        warned.propagate = False
        logging.captureWarnings(True)


def end_log_file() -> None:
    """Close the file that the log is kept in, if there is one."""
    for logger in (log, warned):
        for handler in [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]:
            handler.close()
            logger.removeHandler(handler)
