"""Compare a rerun with the run that it repeats."""

from typing import Any

import torch

from ..files import write_json
from ..logs import log
from .folder import RunFolder
from .loading import load_checkpoint
from .metrics import read_metrics
from .provenance import changes, read_provenance


def check_comparable(before: RunFolder) -> None:
    """Raises RefusedError if the files that a rerun is compared with can't be read."""
    read_provenance(before)
    read_metrics(before.path / "metrics.csv")
    load_checkpoint(before.last)


def say_what_differs(before: RunFolder, known: dict[str, Any]) -> None:
    """Log what has changed since `before` was trained: code, data, versions, machine."""
    differing = changes(read_provenance(before), known)
    log.info(f"Training {before.path.as_posix()} again; since then {'changed:' if differing else 'nothing changed'}")
    for name, (old, new) in differing.items():
        log.info(f"  {name}: {_short(old)} then, {_short(new)} now")


def compare(run: RunFolder, before: RunFolder) -> None:
    """Log whether both runs are bit-identical, or by how much they differ, and write rerun.json."""
    states = (load_checkpoint(each.last)["state_dict"] for each in (run, before))
    weights, earlier = ({name: part for name, part in each.items() if torch.is_tensor(part)} for each in states)
    gaps = {
        name: (weights[name].double() - value.double()).abs().max().item() if value.numel() else 0.0
        for name, value in earlier.items()
        if name in weights and weights[name].shape == value.shape
    }
    same_weights = weights.keys() == earlier.keys() and all(torch.equal(weights[name], earlier[name]) for name in gaps)
    rows, rows_before = (read_metrics(each.path / "metrics.csv") for each in (run, before))
    same = same_weights and len(gaps) == len(earlier) and rows == rows_before
    widest = max(gaps, key=lambda name: gaps[name], default="")
    metrics = {key: [value, rows[-1].get(key)] for row in rows_before[-1:] for key, value in row.items() if "/" in key}
    content = {
        "of": before.path.as_posix(),
        "changed": changes(read_provenance(before), read_provenance(run)),
        "same_bits": same,
        "largest_difference_of_a_weight": {"name": widest, "value": gaps.get(widest)},
        "test": metrics,
    }
    write_json(run.path / "rerun.json", content)
    if same:
        log.info(f"The same bits as {before.path.as_posix()}: weights, and every row of metrics.csv")
        return
    log.info(f"Not the bits of {before.path.as_posix()}: weights differ by up to {gaps.get(widest, 0):.3g} ({widest})")
    for key, (then, here) in metrics.items():
        if key.count("/") == 1 and then != here:
            log.info(f"  {key}: {then:.6g} then, {'absent' if here is None else f'{here:.6g}'} now")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
