"""What a person sees of a command: its log, its exit status, and no warning that they can do nothing about."""

import logging
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import RefusedError, pip_command
from .run_folder import rank

log = logging.getLogger(__package__)
warned = logging.getLogger("py.warnings")

# Lightning's advice that does not hold here: data in memory needs no workers, and the advertisements.
QUIET = (
    ".*does not have many workers.*",
    ".*is smaller than the logging interval.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*is deprecated.*LeafSpec.*",
    ".*isinstance\\(treespec, LeafSpec\\).*",
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


def front_door(command: Callable[[Any], Any], cfg: Any) -> None:
    """Run `command(cfg)` and end the process as the README says: 0 done, 1 failed, 2 refused, 130 and 143 stopped."""
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    try:
        command(cfg)
    except RefusedError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        print(f"A package is not installed: {pip_command(error)}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, SIGTERMException) as error:
        print("Stopped. The same command with the same name= goes on from the last epoch.", file=sys.stderr)
        sys.exit(143 if isinstance(error, SIGTERMException) else 130)
    except Exception as error:
        _report(error)
        sys.exit(1)


def _report(error: Exception) -> None:
    """Print the cause in two lines; the whole traceback goes to the log file, or to the console where there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or list(frames)
    where = f"{own[-1].filename}:{own[-1].lineno}"
    print(f"{type(error).__name__}: {error}\n  at {where}", file=sys.stderr)
    files = [handler for handler in log.handlers if isinstance(handler, logging.FileHandler)]
    if files:
        files[0].emit(log.makeRecord(log.name, logging.ERROR, where, 0, traceback.format_exc(), (), None))
        print(f"  the whole traceback: {files[0].baseFilename}", file=sys.stderr)
    else:
        traceback.print_exc()
