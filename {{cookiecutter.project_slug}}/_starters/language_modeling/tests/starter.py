"""Facts about this task for the shared tests: a user's text, a prompt, and outputs and loss of the model."""

import ast
import csv
import json
import sysconfig
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from torch import Tensor
from torch.nn.functional import cross_entropy

OWN_NAME = "notes"  # the user's files in the README
OWN_DATAMODULE = "text"
OWN_FILES = {"pairs": "pairs.jsonl", "labelled_text": "labelled.csv"}  # for a datamodule that reads no folder
NEEDS = {"datamodule=labelled_text": "experiment=classification"}  # words that go with others
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
    write_rows(path / "labelled.csv", described_functions(), ("text", "label"))


def described_functions(size: int = 200) -> list[tuple[str, str]]:
    """Docstrings of two packages, `size` of each, and the names of the packages."""
    found = []
    for package in (np, matplotlib):
        texts: set[str] = set()
        for source in sorted(Path(package.__file__).parent.rglob("*.py")):
            nodes = ast.walk(ast.parse(source.read_text(encoding="utf-8")))
            texts.update(filter(None, (ast.get_docstring(node) for node in nodes if isinstance(node, ast.FunctionDef))))
            if len(texts) >= 3 * size:
                break
        found += [(text, package.__name__) for text in sorted(texts)[:: len(texts) // size][:size]]
    return found


def write_rows(path: Path, rows: Iterable[tuple[str, ...]], names: tuple[str, ...]) -> str:
    """Write rows of texts as the suffix says, and return the path."""
    records = [dict(zip(names, row, strict=True)) for row in rows]
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.write("".join(json.dumps(record) + "\n" for record in records))
        elif path.suffix == ".json":
            json.dump(records, file)
        else:
            writer = csv.DictWriter(file, names, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(records)
    return str(path)


def letter_pairs() -> list[tuple[str, str]]:
    """Letters and their Unicode names, such as ("é", "latin small letter e with acute")."""
    return [(chr(code), unicodedata.name(chr(code)).lower()) for code in range(0xC0, 0x250)]


def write_inputs(folder: Path) -> str:
    """Write an input for predict.py into `folder`; return the value of `input=`."""
    (folder / "prompt.txt").write_text("import os\n\n\ndef main(", encoding="utf-8")
    return "prompt.txt"


def outputs(model: Any, batch: Any) -> Tensor:
    """Model outputs (B, …), one per sample."""
    return model(*batch[:2]) if len(batch) == 3 else model(batch[0][:, :-1])


def loss(model: Any, batch: Any) -> Tensor:
    """A deterministic loss with a gradient for every parameter."""
    return cross_entropy(outputs(model, batch).flatten(0, 1), batch[0][:, 1:].flatten())
