"""Rerun: what differs between a finished run and now, and whether training it again gave the same bits."""

from typing import Any

import torch

from .checkpoints import load_checkpoint
from .folder import RunFolder, write_json
from .log import log
from .metrics_log import read_metrics
from .provenance import changes, read_provenance


def say_what_differs(before: RunFolder, known: dict[str, Any]) -> None:
    """Log what is not as it was when `before` was trained: code, data, versions, machine."""
    differing = changes(read_provenance(before), known)
    log.info(f"Training {before.path.as_posix()} again; since then {'changed:' if differing else 'nothing changed'}")
    for name, (old, new) in differing.items():
        log.info(f"  {name}: {_short(old)} then, {_short(new)} now")


def compare(run: RunFolder, before: RunFolder) -> None:
    """Log whether both ended in the same bits, or by how much not; write it to rerun.json."""
    weights, earlier = (load_checkpoint(each.last)["state_dict"] for each in (run, before))
    gaps = {
        name: (weights[name].double() - value.double()).abs().max().item() if value.numel() else 0.0
        for name, value in earlier.items()
        if name in weights and weights[name].shape == value.shape
    }
    same_weights = weights.keys() == earlier.keys() and all(torch.equal(weights[name], earlier[name]) for name in gaps)
    rows, rows_before = (read_metrics(each.path / "metrics.csv") for each in (run, before))
    same = same_weights and len(gaps) == len(earlier) and rows == rows_before
    widest = max(gaps, key=lambda name: gaps[name], default="")
    metrics = {key: [value, rows[-1].get(key)] for key, value in rows_before[-1].items() if "/" in key}
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
    for key, (then, now) in metrics.items():
        if key.count("/") == 1 and then != now:
            log.info(f"  {key}: {then:.6g} then, {'absent' if now is None else f'{now:.6g}'} now")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
