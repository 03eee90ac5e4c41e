"""Write run folders without training, for the tests of runs.py."""

import json
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

EPOCHS = 3


def write_run(path: Path, seed: int = 0, lr: float = 0.01, model: str = "cnn", **provenance: Any) -> Path:
    """Write the folder of a finished run: all its text files, and one plot. `provenance` replaces keys of that file."""
    (path / "plots").mkdir(parents=True)
    name, last = path.name, 0.5 + seed / 100
    config = {"name": name, "seed": seed, "monitor": "val/loss", "model": {"kind": model, "optimizer": {"lr": lr}}}
    (path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    overrides = [f"name={name}", f"seed={seed}", f"model.optimizer.lr={lr}"]
    origin = {
        **{"command": "python train.py", "overrides": overrides, "seed": seed, "seedless_sha256": f"{model} {lr}"},
        **{"data_sha256": "a", "code_sha256": "b", "packages": {"torch": "2.13.0"}, "git": {}, "resumed": []},
    }
    write_json(path / "provenance.json", origin | provenance)
    status = {
        **{"state": "finished", "model": model, "datamodule": "digits", "seed": seed, "monitor": "val/loss"},
        **{"mode": "min", "started": f"2026-01-01T00:00:{seed:02}+00:00", "alive": "2026-01-01T00:01:00+00:00"},
        **{"epoch": EPOCHS, "epochs": EPOCHS, "step": 30, "steps": 30, "seconds": 60.0},
        "best": {"value": last, "epoch": EPOCHS - 1, "step": 29},
    }
    write_json(path / "status.json", status)
    rows = [f"{epoch},{10 * epoch + 9},{last + EPOCHS - 1 - epoch},{3 - epoch}" for epoch in range(EPOCHS)]
    (path / "metrics.csv").write_text("\n".join(["epoch,step,val/loss,train/loss", *rows, ""]))
    times = [f"{10 * epoch + 9},{20.0 * (epoch + 1)}" for epoch in range(EPOCHS)]
    (path / "times.csv").write_text("\n".join(["step,seconds", *times, ""]))
    write_json(path / "metrics.json", {"val": {"loss": last}, "test": {"loss": last, "accuracy": 0.9 + seed / 100}})
    Image.new("RGB", (300, 200), "white").save(path / "plots" / "matrix.png")
    return path


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def change_json(path: Path, **changes: Any) -> None:
    """Replace keys of a JSON file."""
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | changes)
