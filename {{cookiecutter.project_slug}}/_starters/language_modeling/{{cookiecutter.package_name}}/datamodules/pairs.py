"""Your own pairs of prompt and answer, in a JSONL, JSON, CSV or TSV file. The loss counts the answers alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import FilePath
from torch import Tensor
from torch.utils.data import Dataset

from ..engine import RefusedError, log, refusal
from .documents import Text
from .prompts import PromptDataModule
from .rows import SUFFIXES, Row, divide, read_rows, row_keys, some_lines
from .tokenizer import Vocabulary


class PairsDataModule(PromptDataModule):
    """Rows of the file `root`, with the columns `prompt` and `answer`, and `split` if the file says it.

    A window holds one pair: end token, prompt, end token, answer, end token. A batch is windows (B, T + 1), filled up
    with end tokens to the longest of them, and which of their targets count (B, T): the answer and its end token.
    """

    sample_name = "pairs"
    input_example = "'What is the capital of France?'"

    def __init__(self, root: FilePath, prompt: str = "prompt", answer: str = "answer", **options: Any) -> None:
        super().__init__(**options)
        self.root, self.prompt, self.answer = Path(root), prompt, answer
        self.rows: dict[str, list[Row]] = {}
        self.kept: dict[str, Tensor] = {}  # numbers (n,) of the rows that fit into a window
        self.marks: dict[str, Tensor] = {}  # of these rows, see PairWindows

    def divided_documents(self) -> Mapping[str, list[Text]]:
        rows = read_rows(self.root, {"prompt": self.prompt, "answer": self.answer})
        self.rows = divide(rows, self.val_fraction, self.test_fraction, self.split_seed, self.sample_name)
        return {
            name: [Text(f"{row.line}", self.root, text) for row in part for text in row.texts]
            for name, part in self.rows.items()
        }

    def check_lengths(self) -> None:
        """Leave out pairs that are longer than a window. Raises RefusedError if none is left in a split."""
        for name, tokens in self.tokens.items():
            ends = torch.from_numpy(np.flatnonzero(tokens == tokens[0]))
            marks = torch.stack((ends[:-1:2], ends[1::2], ends[2::2]), 1)
            lengths = marks[:, 2] - marks[:, 0]
            self.kept[name] = (lengths <= self.context).nonzero()[:, 0]
            self.marks[name] = marks[self.kept[name]]
            if len(self.kept[name]) < len(lengths):
                self._log_left_out(name, lengths)
            elif not len(lengths) and self.test_fraction < 1:
                raise RefusedError(f"datamodule.root={self.root}: no pair is left for {name}", "datamodule.root")

    def _log_left_out(self, name: str, lengths: Tensor) -> None:
        lines = [self.rows[name][number].line for number in (lengths > self.context).nonzero()[:, 0].tolist()]
        finding = f"{len(lines):,} of {len(lengths):,} {name} pairs in {self.root} have more tokens"
        why = f"{finding}: {some_lines(lines)}; datamodule.context={lengths.max()} takes them all"
        if not len(self.kept[name]):
            raise refusal("datamodule.context", self.context, why)
        log.warning(f"Left out, with datamodule.context={self.context}: {why}")

    def describe(self) -> str:
        """Summarise the data in one line for the log."""
        sizes = ", ".join(f"{len(kept):,} {name}" for name, kept in self.kept.items())
        return f"{len(Vocabulary(**self.statistics)):,} tokens; pairs: {sizes}"

    def sample_ids(self, split: str, index: Tensor) -> list[str]:
        """Return the lines of the pairs `index` (B,)."""
        return [f"line {self.rows[split][number].line}" for number in self.kept[split][index].tolist()]

    def dataset(self, split: str) -> "PairWindows":
        return PairWindows(self.tokens[split], self.context, self.marks[split])

    def trained_on(self) -> np.ndarray:
        return np.concatenate([self._keys("train"), self._keys("val")])

    def is_seen(self, keys: np.ndarray) -> np.ndarray:
        return np.isin(self._keys("test"), keys)

    def keep_in_test(self, kept: np.ndarray) -> None:
        chosen = torch.from_numpy(kept)
        self.kept["test"], self.marks["test"] = self.kept["test"][chosen], self.marks["test"][chosen]

    def _keys(self, split: str) -> np.ndarray:
        return row_keys([self.rows[split][number] for number in self.kept[split].tolist()])

    # Input and output of predict.py

    def encode_prompt(self, prompt: str, vocabulary: Vocabulary) -> Tensor:
        return torch.tensor([[vocabulary.end, *vocabulary.encode(prompt), vocabulary.end]])

    def read_prompts(self, source: str) -> list[str]:
        """Read the column of prompts of a table; else `source` is a prompt, or a text file that holds one."""
        path = Path(source)
        if path.is_file() and path.suffix.lower() in SUFFIXES:
            return [row.texts[0] for row in read_rows(path, {"prompt": self.prompt}, "input", with_splits=False)]
        return super().read_prompts(source)

    def predictions_name(self, source: str) -> str:
        return f"{Path(source).stem}.jsonl" if Path(source).is_file() else "prompt.jsonl"

    def write_predictions(self, outputs: list[str], path: Path, hparams: Mapping[str, Any]) -> int:
        """Write a line of JSON for each prompt, with its answer. Return the number of answers."""
        lines = [
            json.dumps({self.prompt: prompt, self.answer: answer}, ensure_ascii=False)
            for prompt, answer in zip(self.prompts, outputs, strict=True)
        ]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
        return len(outputs)


class PairWindows(Dataset[tuple[Tensor, Tensor]]):
    """Windows of pairs: `marks` (N, 3) are the places in `tokens` of the three end tokens of a pair."""

    def __init__(self, tokens: np.ndarray, context: int, marks: Tensor) -> None:
        self.tokens, self.context, self.marks = tokens, context, marks
        self.step = -(-context // 4)  # of the lengths of windows: few, since each is compiled anew with model.compile

    def __len__(self) -> int:
        return len(self.marks)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        first, middle, last = self.marks[index].unsqueeze(-1).unbind(1)
        steps = -(-int((last - first).max()) // self.step)
        places = first + torch.arange(min(steps * self.step, self.context) + 1)
        windows = torch.from_numpy(self.tokens[places.minimum(last).numpy()].astype(np.int64))
        return windows, ((middle < places) & (places <= last))[:, 1:]
