"""Base class for datamodules of long texts: splits by file, windows of tokens.

To use your own corpus, subclass TokenDataModule and write `load_documents`; see library.py and text.py.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader

from ..engine import refusal
from ..engine.order import batches
from .documents import Document, format_bytes, split_documents
from .prompts import PromptDataModule
from .tokenizer import Vocabulary
from .windows import NGRAM, TokenWindows, WindowOrder, evaluation_windows, token_keys, training_windows


class TokenDataModule(PromptDataModule):
    """Text as tokens, split by file; each split is one array of tokens mapped from a file, see token_files.py.

    A batch is windows (B, context + 1) and which of their targets count (B, context). An epoch has `epoch_batches`
    batches, validation `val_windows` windows; None means all.
    """

    sample_name = "windows"
    seen_as = f"share {NGRAM} consecutive tokens with"

    def __init__(
        self, epoch_batches: PositiveInt | None = None, val_windows: PositiveInt | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.epoch_batches, self.val_windows = epoch_batches, val_windows
        self.tested: Tensor | None = None  # mask of test windows, set in evaluation on other text

    def load_documents(self) -> list[Document]:
        """Load the texts. Raises RefusedError if there are none."""
        raise NotImplementedError(f"{type(self).__name__} must define load_documents()")

    def divided_documents(self) -> Mapping[str, list[Document]]:
        return split_documents(self.load_documents(), self.val_fraction, self.test_fraction, self.split_seed)

    def check_lengths(self) -> None:
        """Raises RefusedError, with the text needed, if a split is too short for a window."""
        needed = {name: 2 * self.context if name == "train" else self.context + 1 for name in self.tokens}
        for name, tokens in self.tokens.items():
            if len(tokens) < needed[name] and (self.documents[name] or self.test_fraction < 1):
                files = [str(document.path) for document in self.documents[name]]
                source = f"{files[0]} and {len(files) - 1} more" if len(files) > 1 else "".join(files) or "no file"
                why = f"the {name} part of the text ({source}) has {len(tokens)} tokens, {needed[name]} are needed"
                raise refusal("datamodule.context", self.context, f"{why}; {self._suggestion(needed)}")

    def _suggestion(self, needed: dict[str, int]) -> str:
        """Suggest how much text, or which context, would be enough."""
        size = sum(document.size for part in self.documents.values() for document in part)
        times = max(needed[name] / len(tokens) for name, tokens in self.tokens.items())
        longest = min(len(tokens) // 2 if name == "train" else len(tokens) - 1 for name, tokens in self.tokens.items())
        shorter = f", or datamodule.context={longest} at most" if longest > 1 else ""
        return f"all of it has {format_bytes(size)}: expected more text, about {format_bytes(times * size)}{shorter}"

    def describe(self) -> str:
        """Summarise the data in one line for the log."""
        sizes = ", ".join(
            f"{name} {format_bytes(sum(each.size for each in part))} in {len(part)} files"
            for name, part in self.documents.items()
        )
        return f"{len(Vocabulary(**self.statistics)):,} tokens; {sizes}"

    def sample_ids(self, split: str, index: Tensor) -> list[str]:
        """Return the file and token at which each of the windows `index` (B,) begins."""
        tokens = self.tokens[split]
        begins = np.flatnonzero(tokens == tokens[0])[:-1]  # an end token also precedes the first text
        ids = []
        for place in self.dataset(split).places(index).tolist():
            number = int(np.searchsorted(begins, place, side="right")) - 1
            ids.append(f"{self.documents[split][number].name}:{place - begins[number]}")
        return ids

    def dataset(self, split: str) -> TokenWindows:
        if split == "train":
            return training_windows(self.tokens[split], self.context)
        windows = evaluation_windows(self.tokens[split], self.context, self.val_windows if split == "val" else None)
        return windows if split != "test" or self.tested is None else windows.chosen(self.tested)

    def trained_on(self) -> np.ndarray:
        """Return hashes of NGRAM tokens at every position, since windows may begin anywhere."""
        return np.concatenate([token_keys(self.tokens[split], NGRAM) for split in ("train", "val")])

    def is_seen(self, keys: np.ndarray) -> np.ndarray:
        """Return True for each test window (N,) that shares NGRAM consecutive tokens with the training data."""
        hits = np.isin(token_keys(self.tokens["test"]), keys)
        before = np.concatenate([np.zeros(NGRAM, np.int64), hits.cumsum()])  # hits that begin before each position
        starts = self.dataset("test").tensors[0].numpy()
        last = np.minimum(starts + self.context + NGRAM, len(before) - 1)
        return before[last] > before[np.minimum(starts, len(before) - 1)]

    def keep_in_test(self, kept: np.ndarray) -> None:
        self.tested = torch.from_numpy(kept)

    def _batches(self, split: str, seed: int | None = None) -> DataLoader:
        if split != "train":
            return super()._batches(split)
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        data = self.dataset("train")
        order = WindowOrder(
            len(data), self.batch_size, self.context, self.epoch_batches, seed=seed, rank=rank, world=world,
            trainer=self.trainer,
        )  # fmt: skip
        return batches(data, order, self.num_workers)
