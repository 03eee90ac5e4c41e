"""Checkpoint files: write them whole or not at all, find damage, choose the one to resume from."""

import contextlib
import errno
import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from ..errors import RefusedError
from ..logs import log
from .folder import RunFolder
from .loading import _broken, load_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to disk, reads back, then renames: a reader finds the old file or the new one.

    What was last.ckpt is kept as previous.ckpt. Lightning's own way goes through the temporary folder, and is a plain
    copy over the old file where that lies on another disk.

    What it loads is looked through by `load_checkpoint`. It removes nothing but checkpoints in the run folder and in
    folders that it has written to: which one is no longer needed Lightning may have from a stranger's checkpoint. With
    `within` it writes into the run folder alone.
    """

    def __init__(self, run: RunFolder, within: bool = False) -> None:
        self.run, self.within = run, within
        self.folders: set[Path] = set()  # of checkpoints

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Raises RefusedError as the function of that name."""
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint that is one of the run's; leave any other file, with a warning."""
        real = Path(path).resolve()
        if real.suffix != ".ckpt" or not (self._is_within(real) or real.parent in self.folders):
            log.warning(f"{path} is not removed: it is no checkpoint of {self.run.path.as_posix()}")
        elif real.is_file():
            real.unlink()

    def _is_within(self, real: Path) -> bool:
        return self.run.path.resolve() in real.parents

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Raises OSError, with the path, where the file can't be written; RefusedError where it may not."""
        path = Path(path)
        if self.within and not self._is_within(path.resolve()):
            raise RefusedError(f"{path.as_posix()}: leads out of the run folder {self.run.path.as_posix()}")
        if not self.run.path.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the run folder is gone", str(self.run.path))
        beside = path.with_name(f"{path.name}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.unlink(missing_ok=True)  # of a process that was killed
            _write(checkpoint, beside)
            if path == self.run.last and path.exists():
                os.replace(path, self.run.previous)
            os.replace(beside, path)
            _flush_folder(path.parent)
            self.folders.add(path.resolve().parent)
        except BaseException as error:
            beside.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(path)) from error
            raise


class _Recorder:
    """A file that remembers why a write failed; torch tells of every failure as "unexpected pos"."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    with path.open("xb") as file:  # never through a link or a FIFO
        recorder: Any = _Recorder(file)
        try:
            torch.save(checkpoint, recorder)
        except RuntimeError:
            if recorder.error is None:
                raise
            raise recorder.error from None
        file.flush()
        os.fsync(file.fileno())
    if reason := damage(path):
        raise OSError(errno.EIO, f"what was written could not be read back: {reason}")


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a power cut; Windows can't open a folder, and needs it less."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None: each byte is compared with its checksum, which torch.load does not do.

    25 ms for 120 MB. Of what stands between the records Python's reader overlooks some that torch's does not.
    """
    if reason := _broken(path):
        return reason
    try:
        _open(path)
    except Exception as error:  # what a flipped bit can make of the headers has many names
        return f"it is cut off or overwritten ({error})"
    return None


def _open(path: Path) -> None:
    """Raises RuntimeError where torch can't read the file; what it holds is looked at elsewhere, and not read here."""
    with contextlib.suppress(UnpicklingError):
        torch.load(path, map_location="cpu", mmap=True, weights_only=True)


def resume_point(run: RunFolder) -> Path | None:
    """last.ckpt; where it is damaged, the one before it; None where the run had not begun to save.

    Raises RefusedError where nothing whole is left: a run is never begun anew without a word.
    """
    reasons = {path: damage(path) for path in (run.last, run.previous) if path.exists()}
    whole = [path for path, reason in reasons.items() if reason is None]
    named = "; ".join(f"{path}: {reason}" for path, reason in reasons.items() if reason)
    if not whole and (named or run.best.exists()):
        best = f", or take the best weights so far: init_from={run.path.as_posix()}" if run.best.exists() else ""
        lost = named or f"{run.last} is gone"
        raise RefusedError(f"name={run.name}: no whole checkpoint is left ({lost}); choose another name={best}")
    if not whole:
        return None
    if whole[0] != run.last:
        if named:
            os.replace(run.last, run.last.with_name("damaged.ckpt"))
            log.warning(f"{named}. Kept as damaged.ckpt; going on from the one before it")
        os.replace(whole[0], run.last)
    return run.last


def how_to_go_on(run: RunFolder) -> str:
    """The command that goes on with a run that has begun, and the checkpoint from which."""
    if not run.begun:
        return ""
    whole = [path for path in (run.last, run.previous) if path.is_file() and damage(path) is None]
    begin = f"from {whole[0].as_posix()}" if whole else "from the beginning"
    return f"The same command with name={run.name} goes on {begin}."
