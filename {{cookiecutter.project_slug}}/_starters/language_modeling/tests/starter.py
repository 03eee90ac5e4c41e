"""What the tests need to know of this task: text as a user would bring it, and what a model gives for a batch."""

import sysconfig
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy

OWN_NAME = "notes"  # of the user's files in the README
OWN_DATAMODULE = "text"
PLOTS = ("loss_and_rate", "samples")  # beside the learning curves
FILES = ("samples.txt",)  # in the run folder beside those of every run
NO_SUCH_INPUT = ""  # what predict.py says of `input=none`; empty where any words are an input
# A model that takes a step in an instant, and a test of a few.
SMALL = (
    "model.network.width=32", "model.network.heads=4", "datamodule.vocab_size=512", "datamodule.context=32",
    "datamodule.batch_size=8", "++trainer.limit_test_batches=8",
)  # fmt: skip


def write_own_data(path: Path) -> None:
    """Real source files as text files, and one that is none."""
    path.mkdir(parents=True)
    for source in sorted(Path(sysconfig.get_path("stdlib"), "email").glob("*.py")):
        (path / f"{source.stem}.txt").write_bytes(source.read_bytes())
    (path / "broken.txt").write_bytes(b"\xff\xfe is no UTF-8")


def write_inputs(folder: Path) -> str:
    """What `input=` of predict.py may say, of files in `folder`."""
    (folder / "prompt.txt").write_text("import os\n\n\ndef main(", encoding="utf-8")
    return "prompt.txt"


def outputs(model: Any, batch: Any) -> Tensor:
    """Of each sample (B, …)."""
    return model(batch[0][:, :-1])


def loss(model: Any, batch: Any) -> Tensor:
    """A loss that every parameter has a part in, the same for the same weights."""
    return cross_entropy(outputs(model, batch).flatten(0, 1), batch[0][:, 1:].flatten())
