"""Facts about this task for the shared tests: a user's text, a prompt, and outputs and loss of the model."""

import json
import sysconfig
import unicodedata
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy

OWN_NAME = "notes"  # the user's files in the README
OWN_DATAMODULE = "text"
OWN_FILES = {"pairs": "pairs.jsonl"}  # the file in it for a datamodule that reads no folder
PLOTS = ("loss_and_rate", "samples")  # besides the learning curves
FILES = ("samples.txt",)  # in the run folder, besides those of every run
NO_SUCH_INPUT = ""  # what predict.py answers to `input=none`; empty if any words are valid input
# Overrides for a model that takes a step in an instant, and for a short test.
SMALL = (
    "model.network.width=32", "model.network.heads=4", "datamodule.vocab_size=512", "datamodule.context=32",
    "datamodule.batch_size=8", "++trainer.limit_test_batches=8",
)  # fmt: skip


def write_own_data(path: Path) -> None:
    """Write source files as text files, one that is not text, and pairs of prompt and answer."""
    path.mkdir(parents=True)
    for source in sorted(Path(sysconfig.get_path("stdlib"), "email").glob("*.py")):
        (path / f"{source.stem}.txt").write_bytes(source.read_bytes())
    (path / "broken.txt").write_bytes(b"\xff\xfe is no UTF-8")
    lines = [json.dumps({"prompt": prompt, "answer": answer}) + "\n" for prompt, answer in letter_pairs()]
    (path / "pairs.jsonl").write_text("".join(lines), encoding="utf-8")


def letter_pairs() -> list[tuple[str, str]]:
    """Letters and their Unicode names, such as ("é", "latin small letter e with acute")."""
    return [(chr(code), unicodedata.name(chr(code)).lower()) for code in range(0xC0, 0x250)]


def write_inputs(folder: Path) -> str:
    """Write an input for predict.py into `folder`; return the value of `input=`."""
    (folder / "prompt.txt").write_text("import os\n\n\ndef main(", encoding="utf-8")
    return "prompt.txt"


def outputs(model: Any, batch: Any) -> Tensor:
    """Model outputs (B, …), one per sample."""
    return model(batch[0][:, :-1])


def loss(model: Any, batch: Any) -> Tensor:
    """A deterministic loss with a gradient for every parameter."""
    return cross_entropy(outputs(model, batch).flatten(0, 1), batch[0][:, 1:].flatten())
