"""The command line: check the config before work, print errors in one line, set the exit status.

Imports neither torch nor Lightning, so that --help and refusals are immediate.
"""

import argparse
import functools
import gc
import inspect
import logging
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from ..config.check import all_keys, check_shown
from ..config.files import check_files
from ..config.modules import PACKAGE
from ..errors import FailedError, RefusedError, StoppedError, is_own, own_frames, pip_command, printable, refusal
from ..logs import log, log_to_file, rank, start_log
from ..signals import stopping

QUOTED_PATTERN = re.compile(r"'[^']*'|\"[^\"]*\"|\?\?\?")
NAME_PATTERN = re.compile(r"\+*name=[^,]*$")
CHECK, TRACEBACK = "--check", "--traceback"
# Environment variables of launchers that Lightning parses as integers, some of them on import.
NUMERIC_ENV = (
    "RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_PORT", "STANDALONE_PORT",
    "JSM_NAMESPACE_RANK", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE",
    "SLURM_NNODES",
)  # fmt: skip
warnings.filterwarnings("ignore", ".*Defaults list is missing `_self_`.*")  # an error with the reason follows
warnings.filterwarnings("ignore", ".*version_base.*")  # Hydra 1.3 warns without it, 1.4 with it
# Python 3.14 reads a help text when it is added to a parser. One of Hydra 1.3's is no string until it is printed.
if check_help := getattr(argparse.ArgumentParser, "_check_help", None):
    argparse.ArgumentParser._check_help = (  # type: ignore[attr-defined]
        lambda self, action: check_help(self, action) if isinstance(action.help, str) else None
    )


def command(task: Callable[[Any], object]) -> Callable[[], None]:
    """Decorate the main function of a script: `train.py` composes configs/train.yaml, checks it and calls `task`.

    `task` receives the config of a training, or a ChosenRun. Exit status: 0 done, 1 failed, 2 refused, 130 or 143
    stopped.
    """
    return CommandLine(task, Path(inspect.getfile(task)).resolve()).run


class CommandLine:
    """One call of a script: checks its arguments before any work, and prints an error in one line."""

    def __init__(self, task: Callable[[Any], object], script: Path) -> None:
        self.task, self.script, self.configs = task, script, script.parent / "configs"
        self.flags: set[str] = set()  # those of --check and --traceback that are given

    def run(self) -> None:
        """Check the words of sys.argv, then let Hydra compose the config and call `work`."""
        _open_streams()
        words = sys.argv[1:]
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs about its caches on import
        gc.disable()  # until the work begins: the check allocates much and frees little
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors
        self.flags = {CHECK, TRACEBACK}.intersection(words)
        sys.argv[1:] = [word for word in words if word not in self.flags]
        sweep_file = Path("multirun.yaml")  # written by Hydra; each run folder has its own config
        is_kept = sweep_file.exists()
        try:
            _clear_environment()
            if {"--help", "-h"}.intersection(words):
                from .help import show_help

                return show_help(self.script)
            check_files(self.configs)
            flags = _parse_flags(self.configs)
            if not (flags.shell_completion or flags.hydra_help):
                self._check_words(flags)
            compose_and = hydra.main(version_base="1.3", config_path=str(self.configs), config_name=self.script.stem)
            compose_and(functools.wraps(self.task)(lambda cfg: self.work(cfg)))()
        except KeyboardInterrupt as error:
            self._end(error)
        except Exception as error:
            self._refuse(error)
        finally:
            if not is_kept:
                sweep_file.unlink(missing_ok=True)
            gc.freeze()  # spares a collection at exit
            gc.enable()
            sys.argv[1:] = words

    def _check_words(self, flags: argparse.Namespace) -> None:
        """Check each run of a sweep before the first begins; with --cfg, which only prints, the keys of the config."""
        try:
            Path.cwd()
        except FileNotFoundError as error:
            raise RefusedError("the current folder is gone: cd to another one") from error
        rest = [*sys.argv[1:]]
        for word in flags.overrides:
            rest.remove(word)
        words = [_hydra_override(word, self.configs) for word in flags.overrides]
        sys.argv[1:] = [*words, *rest]  # Hydra accepts no flag between overrides
        name = flags.config_name or self.script.stem
        if flags.experimental_rerun:
            raise RefusedError("--experimental-rerun: unpickles a file; rerun=runs/<name> trains a finished run again")
        if flags.multirun and (named := next((word for word in words if NAME_PATTERN.match(word)), None)):
            raise RefusedError(f"{named.lstrip('+')}: a sweep makes several runs; leave the name out")
        if flags.cfg or flags.info:
            cfg = compose_config(self.configs, name, words)
            check_shown(cfg)
            part = flags.package if flags.cfg == "job" and flags.package != "_global_" else None
            if part and OmegaConf.select(cfg, part) is None:
                raise refusal("--package", part, "no such part of the config", all_keys(cfg), part)
        elif flags.multirun:
            for overrides in _jobs(self.configs, name, words):
                _check(compose_config(self.configs, name, overrides))

    def work(self, cfg: DictConfig) -> None:
        """Check the composed config and call the task; with --check, only print the result."""
        try:
            request = _check(cfg)
        except Exception as error:
            self._refuse(error)
        try:
            gc.enable()
            if CHECK not in self.flags:
                with stopping:
                    self.task(request)
                return
            if isinstance(request, DictConfig):
                from ..training.train import check_built

                start_log()
                check_built(request)
            print("The command is valid. Its data is read, and may be refused, when it runs.")
        except RefusedError as error:
            self._refuse(error)
        except (Exception, KeyboardInterrupt, StoppedError, SystemExit) as error:
            self._end(error)

    def _refuse(self, error: Exception) -> NoReturn:
        from .explain import explain_error

        self._end(explain_error(error, sys.argv[1:], self.configs))

    def _end(self, error: BaseException) -> NoReturn:
        if TRACEBACK in self.flags:
            _print("".join(traceback.format_exception(error)), keep="\n\t")
        end(error)


def _clear_environment() -> None:
    """Unset empty variables of launchers. Raises RefusedError if one is not a number."""
    for key in (*NUMERIC_ENV, "MASTER_ADDR"):
        text = os.environ.get(key, "0")
        if not text.strip():
            del os.environ[key]
        elif key in NUMERIC_ENV and not re.fullmatch(r"\s*[0-9]+\s*", text):
            raise RefusedError(f"{key}={text}: the environment variable is not a whole number; unset it")


def _hydra_override(word: str, configs: Path) -> str:
    """Turn `key=value` into Hydra's `++key=value`: the check knows from the signatures which keys exist."""
    key, equals, value = word.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key) or key.startswith("hydra."):
        return word
    if key == "input" and not QUOTED_PATTERN.fullmatch(value):  # a file name or a prompt, with any characters
        escaped = re.sub(r"(\\*)('|\$\{|\Z)", lambda match: match[1] * 2 + (match[2] and f"\\{match[2]}"), value)
        return f"++input='{escaped}'"
    if not (configs / key).is_dir() or value.startswith("{"):  # a dict is merged into the chosen option
        return f"++{word}"
    if value == "null":  # no option, which Hydra writes another way
        return "callbacks=[]" if key == "callbacks" else f"~{key}"
    return word


def _parse_flags(configs: Path) -> argparse.Namespace:
    """Parse Hydra's flags. Raises RefusedError for an unknown one, in place of argparse's usage page."""

    def refuse(message: str) -> NoReturn:
        from .explain import unknown_flag

        raise unknown_flag(message, sys.argv[1:], all_keys(compose_config(configs, "train", [])))

    parser = get_args_parser()
    parser.allow_abbrev = False  # --exp=… would be --experimental-rerun
    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_intermixed_args()


def _jobs(configs: Path, name: str, words: list[str]) -> Iterator[list[str]]:
    """Yield the overrides of the runs of a sweep, of those that contain a new value. Raises RefusedError."""
    with initialize_config_dir(str(configs), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        fixed = [str(each.input_line) for each in parser.parse_overrides(words) if not each.is_sweep_override()]
        sweeper = compose(name, fixed, return_hydra_config=True).hydra.sweeper
        if sweeper._target_ != f"{BasicSweeper.__module__}.{BasicSweeper.__name__}":
            from .explain import SWEEPS

            raise RefusedError(f"hydra/sweeper: {SWEEPS}")
        words = [*(f"{key}={value}" for key, value in (sweeper.params or {}).items()), *words]
        (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(words), None)
    seen: set[str] = set()
    for job in jobs:
        if not seen.issuperset(job):
            seen.update(job)
            yield job


def _open_streams() -> None:
    """Open os.devnull for the standard streams that the shell has closed (`>&-`), which Python sets to None."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)  # else the next open file would receive what is printed
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def compose_config(configs: Path, name: str, words: list[str]) -> DictConfig:
    """Compose the config `name`, as Hydra does, for a check."""
    with initialize_config_dir(str(configs), version_base="1.3"):
        cfg = compose(name, words, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def _check(cfg: DictConfig) -> Any:
    """Check the config; return a ChosenRun, or the config of a training. Raises RefusedError. No torch."""
    from .requests import check_training, choose_run

    if "run" in cfg.keys():  # noqa: SIM118 (`in` is False for a missing value, ???)
        return choose_run(cfg)
    check_training(cfg)
    return cfg


def end(error: BaseException) -> NoReturn:
    """Print `error` in a few lines and exit with its status."""
    lines, status = [str(error)], 1
    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, RefusedError):
        status = 2
    elif isinstance(error, ModuleNotFoundError) and not f"{error.name}.".startswith(f"{PACKAGE}."):
        lines, status = [f"{_where(error)} needs a package that is not installed: {pip_command(error)}"], 2
    elif isinstance(error, StoppedError):
        lines, status = lines if rank() == 0 else [], 128 + error.signum
    elif isinstance(error, KeyboardInterrupt):
        lines, status = ["Stopped."], 130
    elif isinstance(error, FailedError):
        lines = [*error.args]
    else:
        lines = _report(error)
    for line in lines:
        _print(line)
        if isinstance(error, FailedError | StoppedError):
            log_to_file(str(line))
    sys.exit(status)


def _print(text: object, keep: str = "") -> None:
    print(printable(text, keep), file=sys.stderr)


def _report(error: BaseException) -> list[str]:
    """Return the cause in three lines; write the traceback to the log file, or to a temporary file if there is none."""
    reason, where = f"{type(error).__name__}: {error}", _where(error)
    if "Original Traceback" in reason:  # from a DataLoader worker, as text
        places = re.findall(r'File "(.+?)", line (\d+)', reason)
        where = [where, *(f"{file}:{line}" for file, line in places if is_own(Path(file)))][-1]
        reason = reason.strip().splitlines()[-1]
    logs = (handler.baseFilename for handler in log.handlers if isinstance(handler, logging.FileHandler))
    path = Path(next(logs, None) or tempfile.mkstemp(prefix="traceback-", suffix=".txt")[1])
    whole = printable("".join(traceback.format_exception(error)), keep="\n\t")
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(whole)
    except OSError:
        _print(whole, keep="\n\t")
        return [" ".join(reason.split()), f"  at {where}"]
    return [" ".join(reason.split()), f"  at {where}", f"  the whole traceback: {path}"]


def _where(error: BaseException) -> str:
    """Return the file and line of the error: the last in this project's code, else the last of all."""
    frame = (own_frames(error) or traceback.extract_tb(error.__traceback__))[-1]
    return f"{frame.filename}:{frame.lineno}"
