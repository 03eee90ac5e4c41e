"""seen.npy: keys of the content that a run was trained on, by which evaluate.py finds it in other data."""

from typing import Any

import numpy as np

from ..errors import RefusedError
from ..files import new_file
from .folder import RunFolder

MAX_SEEN = 2**30  # bytes of seen.npy, 134 million samples; a sparse file takes its whole size in memory


def seen_as(datamodule: Any) -> str:
    """Say what samples that were seen have to do with those of training: `are copies of`, `overlap`."""
    return getattr(datamodule, "seen_as", "are copies of")


def write_seen(run: RunFolder, keys: np.ndarray) -> None:
    """Write seen.npy: keys of the samples that the run trains on, by which evaluate.py recognises them in other data.

    A resumed run keeps the keys of the samples that it trained on before (resume=inexact allows other data).
    """
    earlier = read_seen(run) if run.continued else None
    keys = np.unique(keys if earlier is None else np.concatenate([earlier, keys]))
    with new_file(run.seen, binary=True) as file:
        np.save(file, keys, allow_pickle=False)


def read_seen(run: RunFolder) -> np.ndarray | None:
    """Return the keys in seen.npy, or None if there is no such file. Raises RefusedError if it can't be read."""
    if not run.seen.is_file():
        return None
    if run.seen.stat().st_size > MAX_SEEN:
        raise RefusedError(f"{run.seen.as_posix()} is larger than {MAX_SEEN / 2**30:.0f} GB")
    try:
        keys = np.load(run.seen, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a crafted header can raise almost anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RefusedError(f"{run.seen.as_posix()} can't be read: {reason}") from error
    if not isinstance(keys, np.ndarray) or keys.dtype != np.uint64 or keys.ndim != 1:
        raise RefusedError(f"{run.seen.as_posix()} does not hold the keys of training samples")
    return np.array(keys)
