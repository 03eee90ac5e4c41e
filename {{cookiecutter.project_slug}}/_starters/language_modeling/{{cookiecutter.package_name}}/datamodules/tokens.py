"""Base class for datamodules of text: splits, vocabulary, tokens in a mapped file, windows, prompts of predict.py.

To use your own corpus, subclass TokenDataModule and write `load_documents`; see library.py and text.py.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader

from ..engine import Above0Below1, Count, Length, RefusedError, Seed, refusal
from ..engine.order import BatchOrder, batches, seed_of
from ..models.generate import Temperature, TopP
from .base import TensorDataModule
from .documents import Document, digest, not_text, split_documents
from .splits import check_split
from .token_files import merges_of, tokens_of
from .tokenizer import BYTES, Statistics, Vocabulary
from .windows import NGRAM, TokenWindows, WindowOrder, evaluation_windows, token_keys, training_windows


class TokenFacts(TypedDict):
    """The data's properties that are passed to the model."""

    context: int  # maximum number of tokens before the predicted one
    statistics: Statistics  # vocabulary learnt from the training text


class TokenDataModule(TensorDataModule):
    """Text as tokens, split by file; each split is one array of tokens mapped from a file, see token_files.py.

    `tokenizer` is `bytes`, or `bpe` with `vocab_size` tokens. A batch is windows (B, context + 1) and the number of
    leading targets that do not count (B,). An epoch has `epoch_batches` batches, validation `val_windows` windows; None
    means all. `temperature`, `top_p`, `seed` and `max_new_tokens` are for predict.py: see models/generate.py.
    """

    sample_name = "windows"
    seen_as = f"share {NGRAM} consecutive tokens with"
    input_is_text = True  # predict.py input="def main(" is a prompt
    input_example = "'Once upon a time'"

    def __init__(
        self,
        tokenizer: Literal["bpe", "bytes"] = "bpe",
        vocab_size: Annotated[int, Field(gt=BYTES, le=2**20)] = 2048,
        context: Length = 256,
        epoch_batches: PositiveInt | None = None,
        val_windows: PositiveInt | None = None,
        val_fraction: Above0Below1 = 0.1,
        test_fraction: Above0Below1 = 0.1,
        split_seed: Seed = 0,
        temperature: Temperature = 0.8,
        top_p: TopP = 0.95,
        max_new_tokens: Count = 200,
        **options: Any,
    ) -> None:
        try:
            super().__init__(**options)
        except TypeError as error:  # an unknown argument such as `folds`: text is not split into folds
            raise RefusedError(f"datamodule: {error}") from error
        check_split(val_fraction, test_fraction, None, None)
        self.tokenizer, self.vocab_size, self.context = tokenizer, vocab_size, context
        self.epoch_batches, self.val_windows = epoch_batches, val_windows
        self.val_fraction, self.test_fraction, self.split_seed = val_fraction, test_fraction, split_seed
        self.temperature, self.top_p, self.max_new_tokens = temperature, top_p, max_new_tokens
        self.documents: dict[str, list[Document]] = {}
        self.statistics: Statistics = {"merges": []}
        self.tokens: dict[str, np.ndarray] = {}
        self.tested: Tensor | None = None  # mask of test windows, set in evaluation on other text

    def load_documents(self) -> list[Document]:
        """Load the texts. Raises RefusedError if there are none."""
        raise NotImplementedError(f"{type(self).__name__} must define load_documents()")

    def setup(self, stage: str | None = None) -> None:
        """Load and tokenise the text; a trained model, tested on other text, keeps its own vocabulary."""
        if stage == "predict":
            return
        if not self.documents:
            whole = self.load_documents()
            self.documents = split_documents(whole, self.val_fraction, self.test_fraction, self.split_seed)
        trained = self.trainer.lightning_module.hparams if self.trainer is not None else self.trained
        statistics: Statistics = trained.get("statistics") or (self.statistics if self.tokens else self._learn())
        if not self.tokens or statistics != self.statistics:
            self.statistics = statistics
            vocabulary = Vocabulary(**statistics)
            self.tokens = {name: tokens_of(part, vocabulary) for name, part in self.documents.items()}
            self._check_lengths()

    def _learn(self) -> Statistics:
        return {"merges": merges_of(self.documents["train"], self.vocab_size) if self.tokenizer == "bpe" else []}

    def _check_lengths(self) -> None:
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
        size = sum(document.end - document.begin for part in self.documents.values() for document in part)
        times = max(needed[name] / len(tokens) for name, tokens in self.tokens.items())
        longest = min(len(tokens) // 2 if name == "train" else len(tokens) - 1 for name, tokens in self.tokens.items())
        shorter = f", or datamodule.context={longest} at most" if longest > 1 else ""
        return f"all of it has {format_bytes(size)}: expected more text, about {format_bytes(times * size)}{shorter}"

    @property
    def facts(self) -> TokenFacts:
        """Properties of the data that are passed to the model as arguments."""
        return {"context": self.context, "statistics": self.statistics}

    def describe(self) -> str:
        """Summarise the data in one line for the log."""
        sizes = ", ".join(
            f"{name} {format_bytes(sum(each.end - each.begin for each in part))} in {len(part)} files"
            for name, part in self.documents.items()
        )
        return f"{len(Vocabulary(**self.statistics)):,} tokens; {sizes}"

    def fingerprint(self) -> str:
        """Return the SHA-256 of the texts of each split and of the vocabulary, which determine the tokens."""
        content = [{name: digest(part) for name, part in self.documents.items()}, self.statistics]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

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

    # Input and output of predict.py

    def read_inputs(self, source: str, hparams: Mapping[str, Any]) -> list[str]:
        """Take `source` as the prompt, or read it from the file of that name. Raises RefusedError for a folder."""
        path = Path(source)
        if path.is_dir():
            raise refusal("input", source, "is a folder; expected a prompt, or a text file that holds one")
        prompt = source
        if path.is_file():
            try:
                content = path.read_bytes()
            except OSError as error:
                raise refusal("input", source, f"can't be read ({error.strerror})") from error
            if problem := not_text(content):
                raise refusal("input", source, problem)
            prompt = content.decode("utf-8-sig")
        vocabulary = Vocabulary(**hparams["statistics"])
        self.inputs = (torch.tensor([[vocabulary.end, *vocabulary.encode(prompt)]]),)
        self.prompt = prompt
        return []

    def predict_dataloader(self) -> DataLoader:
        """Load the prompt (1, T) and the sampling parameters."""
        if self.trainer is not None and self.trainer.progress_bar_callback is not None:
            self.trainer.progress_bar_callback.disable()  # the text itself shows the progress
        sampling = torch.tensor([[self.temperature, self.top_p]])
        numbers = torch.tensor([[self.max_new_tokens, seed_of(self.seed, 0)]])
        return batches((*self.inputs, sampling, numbers), BatchOrder(1, 1))

    def predictions_name(self, source: str) -> str:
        return f"{Path(source).stem}.txt" if Path(source).is_file() else "prompt.txt"

    def write_predictions(self, outputs: list[str], path: Path, hparams: Mapping[str, Any]) -> int:
        """Write the prompt and its continuation. Return the number of texts."""
        path.write_text("".join(f"{self.prompt}{text}" for text in outputs), encoding="utf-8", newline="")
        return len(outputs)


def format_bytes(size: float) -> str:
    """Format a number of bytes."""
    return f"{size / 1e6:,.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
