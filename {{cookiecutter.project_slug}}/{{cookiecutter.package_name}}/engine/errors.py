"""The three ways a command fails: refused, failed, stopped. Each message is one line that says what to do."""

import difflib
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()
INSTALL = "{{ cookiecutter.__pip }} install -c constraints.txt"
# Pip packages whose name differs from that of the module.
PIP_NAMES = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}


class RefusedError(Exception):
    """Refuses a command before work: one line with what was given and expected. `key` is the config key, if any."""

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class FailedError(Exception):
    """Ends a command during work, with exit status 1. Its arguments are the lines to print."""

    def __init__(self, *lines: object) -> None:
        super().__init__(*map(_without_traceback, lines))

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


def _without_traceback(line: object) -> object:
    """Return the message of an error from a worker of a DataLoader, which comes with its traceback before it."""
    text = str(line)
    return text.rpartition("FailedError: ")[2].rstrip() if "Original Traceback" in text else line


class StoppedError(BaseException):
    """A signal stopped the command. Not an Exception, so that `except Exception` around a plot does not catch it."""

    def __init__(self, signum: int, message: str = "Stopped.") -> None:
        super().__init__(message)
        self.signum = signum


# Control characters, line separators, surrogates, and characters that reorder or hide the text around them.
UNPRINTABLE_PATTERN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    r"\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def printable(text: object, keep: str = "") -> str:
    """Escape unprintable characters (`\\x1b`), line breaks included, except those in `keep`.

    File names, keys and values can be untrusted: every text that the process prints or logs passes through here.
    """
    return UNPRINTABLE_PATTERN.sub(lambda sign: sign[0] if sign[0] in keep else ascii(sign[0])[1:-1], str(text))


# Names of keys, and the names that other projects use for them.
SYNONYMS = {
    "max_epochs": "epoch epochs n_epochs num_epochs max_epoch",
    "max_steps": "steps n_steps num_steps max_iter iterations",
    "lr": "learning_rate base_lr",
    "batch_size": "bs batch batchsize train_batch_size",
    "weight_decay": "wd l2",
    "devices": "gpu gpus n_gpus num_gpus device",
    "accelerator": "cuda",
    "num_workers": "workers n_workers",
    "root": "path data_dir data_path data_root dataset_path",
    "datamodule": "data dataset",
    "model": "net network arch architecture backbone",
    "gradient_clip_val": "clip grad_clip gradient_clip clip_grad_norm max_grad_norm",
    "accumulate_grad_batches": "grad_accum accumulate gradient_accumulation_steps",
    "precision": "amp fp16 bf16 mixed_precision",
    "seed": "random_seed random_state manual_seed",
    "name": "run_name exp_name experiment_name",
    "init_from": "ckpt ckpt_path pretrained weights finetune",
    "folds": "kfold k_folds n_folds n_splits",
    "monitor": "metric",
}
KEY_OF_SYNONYM = {word: name for name, words in SYNONYMS.items() for word in words.split()}


def is_meant(wanted: str, name: str) -> bool:
    """Return True if the key `name` ends in `wanted` or its synonym: `model.optimizer.lr` for `learning_rate`."""
    first, dot, last = wanted.rpartition(".")
    return name.endswith(f".{wanted}") or f".{name}".endswith(f".{first}{dot}{KEY_OF_SYNONYM.get(last, ' ')}")


def refusal(
    key: str, value: Any, reason: str, candidates: Iterable[str] = (), wanted: str | None = None
) -> RefusedError:
    """Make a RefusedError: key, value, reason, and those `candidates` that are nearest to `wanted` (default: key).

    Nearest are names that end in `wanted`, such as `model.optimizer.lr` for `lr`; else names spelt similarly.
    """
    text = printable({"None": "null", "True": "true", "False": "false"}.get(str(value), str(value)))
    text = text if len(text) <= 100 else f"{text[:30]}…{text[-69:]}"  # keeps the file name of a path
    wanted, names = key if wanted is None else wanted, list(dict.fromkeys(candidates))
    near = [name for name in names if is_meant(wanted, name)][:2] or difflib.get_close_matches(wanted, names, 2)
    ends = {name.rpartition(".")[2]: name for name in reversed(names)}
    near = near or [ends[end] for end in difflib.get_close_matches(wanted, ends, 2, cutoff=0.8)]
    suggestion = f"; did you mean {' or '.join(near)}?" if near else ""
    start = f"{key}={text}" if text else key
    return RefusedError(" ".join(f"{start}: {reason}{suggestion}".split()), key=key)


def pip_command(error: ModuleNotFoundError) -> str:
    """Return the command that installs the missing package; Lightning's errors name it in their text only."""
    named = re.search(r"pip install -U '?([\w-]+)", str(error))
    name = (error.name or (named[1] if named else str(error))).partition(".")[0]
    return f"{INSTALL} {PIP_NAMES.get(name, name)}"


def is_own(path: Path) -> bool:
    """Return True for a source file of this project, not of the standard library or an installed package.

    Installed packages are recognised by a *.dist-info beside them, in site-packages or another folder of sys.path.
    """
    parents = {parent.resolve() for parent in path.absolute().parents}  # links may lead into or out of it
    if PACKAGE_FOLDER in parents or STANDARD_LIBRARY in parents:
        return PACKAGE_FOLDER in parents
    folders = parents.intersection(Path(entry).resolve() for entry in sys.path)
    return path.is_file() and not any(any(folder.glob("*.dist-info")) for folder in folders)


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of the traceback of `error` that are in this project's code."""
    return [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(Path(frame.filename))]
