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
    read_metrics(before.metrics_csv)
    load_checkpoint(before.last)


def log_changes(before: RunFolder, origin: dict[str, Any]) -> None:
    """Log what has changed since `before` was trained: code, data, versions, machine."""
    differing = changes(read_provenance(before), origin)
    log.info(f"Training {before.path.as_posix()} again; since then {'changed:' if differing else 'nothing changed'}")
    for name, values in differing.items():
        then, here = (text if len(text) <= 60 else f"{text[:57]}…" for text in map(str, values))
        log.info(f"  {name}: {then} then, {here} now")


def compare(run: RunFolder, before: RunFolder) -> None:
    """Log whether both runs are bit-identical, or by how much they differ, and write rerun.json."""
    states = (load_checkpoint(each.last)["state_dict"] for each in (run, before))
    weights, earlier = ({name: value for name, value in each.items() if torch.is_tensor(value)} for each in states)
    rows, earlier_rows = (read_metrics(each.metrics_csv) for each in (run, before))
    same = rows == earlier_rows and weights.keys() == earlier.keys()
    same = same and all(torch.equal(weights[name], value) for name, value in earlier.items())
    gaps = {
        name: (weights[name].double() - value.double()).abs().max().item() if value.numel() else 0.0
        for name, value in earlier.items()
        if name in weights and weights[name].shape == value.shape
    }
    widest = max(gaps, key=lambda name: gaps[name], default="")
    last, earlier_last = ((each or [{}])[-1] for each in (rows, earlier_rows))
    metrics = {key: [value, last.get(key)] for key, value in earlier_last.items() if "/" in key}
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
