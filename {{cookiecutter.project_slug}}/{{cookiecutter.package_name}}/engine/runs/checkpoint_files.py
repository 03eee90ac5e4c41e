"""Checkpoint files: write them atomically, detect damage, choose the one to resume from.

What they hold beside Lightning's own state is in training/resume.py.
"""

import contextlib
import errno
import os
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from ..errors import RefusedError
from ..files import new_file
from ..logs import log
from .folder import RunFolder
from .loading import broken_records, load_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints atomically: a reader finds either the old file or the new one, and both are whole.

    The new file is flushed to disk and read back before it is renamed; the old last.ckpt becomes previous.ckpt.
    Lightning writes to a temporary folder and, if that is on another disk, copies over the old file.

    Only checkpoints in the run folder and in folders that this object wrote to are removed: an untrusted checkpoint can
    name any path. `within` limits writing to the run folder.
    """

    def __init__(self, run: RunFolder, within: bool = False) -> None:
        self.run, self.within = run, within
        self.folders: set[Path] = set()  # that checkpoints were written to

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Load with `runs.loading.load_checkpoint`, which raises RefusedError."""
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint of the run; leave any other file, with a warning."""
        real = Path(path).resolve()
        if real.suffix != ".ckpt" or not (self._is_within(real) or real.parent in self.folders):
            log.warning(f"{path} is not removed: it is not a checkpoint of {self.run.path.as_posix()}")
        elif real.is_file():
            real.unlink()

    def _is_within(self, real: Path) -> bool:
        return self.run.path.resolve() in real.parents

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Raises OSError, with the path, if the file can't be written; RefusedError if `within` forbids the path."""
        path = Path(path)
        if self.within and not self._is_within(path.resolve()):
            raise RefusedError(f"{path.as_posix()}: leads out of the run folder {self.run.path.as_posix()}")
        if not self.run.path.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the run folder is gone", str(self.run.path))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with new_file(path, flush=False, binary=True) as file:
                _write(checkpoint, file)
                if path == self.run.last and path.exists():
                    os.replace(path, self.run.previous)
            _flush_folder(path.parent)
            self.folders.add(path.resolve().parent)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error


def _write(checkpoint: dict[str, Any], file: IO[bytes]) -> None:
    """Write, flush to disk and read back. Raises OSError if that fails."""
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:  # torch reports every failed write as "unexpected pos"
        raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
    file.flush()
    os.fsync(file.fileno())
    if reason := damage(Path(file.name)):
        raise OSError(errno.EIO, f"the file could not be read back: {reason}")


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut. Windows can't open a folder, and needs it less."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint, or None. Compares each byte with its checksum; torch.load does not.

    Takes 25 ms for 120 MB. torch reads the file too: it finds errors between the records that zipfile overlooks.
    """
    if reason := broken_records(path):
        return reason
    try:
        with contextlib.suppress(UnpicklingError):  # the contents are checked when they are loaded
            torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # a flipped bit in a header can raise almost anything
        return f"it is cut off or overwritten ({error})"
    return None


def _last_ones(run: RunFolder) -> dict[Path, str | None]:
    """Return what is wrong with last.ckpt and previous.ckpt, if they exist."""
    return {path: damage(path) for path in (run.last, run.previous) if path.exists()}


def resume_point(run: RunFolder) -> Path | None:
    """Return last.ckpt; previous.ckpt if that is damaged or missing; None if nothing has been saved.

    Raises RefusedError if no checkpoint is intact: a run never starts over silently.
    """
    reasons = _last_ones(run)
    whole = [path for path, reason in reasons.items() if reason is None]
    damaged = "; ".join(f"{path}: {reason}" for path, reason in reasons.items() if reason)
    if not whole and (damaged or run.best.exists()):
        best = f", or take the best weights so far: init_from={run.path.as_posix()}" if run.best.exists() else ""
        lost = damaged or f"{run.last} is gone"
        raise RefusedError(f"name={run.name}: no intact checkpoint is left ({lost}); choose another name={best}")
    if not whole:
        return None
    if whole[0] != run.last:
        if damaged:
            os.replace(run.last, run.last.with_name("damaged.ckpt"))
            log.warning(f"{damaged}. Kept as damaged.ckpt; resuming from the one before it")
        os.replace(whole[0], run.last)
    return run.last


def how_to_resume(run: RunFolder) -> str:
    """Say how to resume a run that has begun: the command, and the checkpoint that it resumes from."""
    if not run.begun:
        return ""
    whole = [path for path, reason in _last_ones(run).items() if reason is None]
    begin = f"resumes from {whole[0].as_posix()}" if whole else "starts from the beginning"
    return f"The same command with name={run.name} {begin}."
