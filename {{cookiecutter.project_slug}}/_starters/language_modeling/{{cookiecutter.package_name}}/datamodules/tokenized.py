"""Base class for datamodules of tokens: a vocabulary learnt from the training text, and the tokens of each split."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict

import numpy as np
from pydantic import Field

from ..engine import Above0Below1, Length, RefusedError, Seed, refusal
from .base import TensorDataModule
from .documents import Document, Text, digest
from .splits import check_split
from .token_files import merges_of, tokens_of
from .tokenizer import BYTES, Statistics, Vocabulary


class TokenFacts(TypedDict):
    """The data's properties that are passed to the model."""

    context: int  # maximum number of tokens before the predicted one
    statistics: Statistics  # vocabulary learnt from the training text


class TokenizedDataModule(TensorDataModule):
    """Texts as tokens: those of each split are one array mapped from a file, with the end token before each text.

    `tokenizer` is `bytes`, or `bpe` with `vocab_size` tokens; `vocabulary` is a finished run whose vocabulary is used
    instead, for a training that starts from its weights.
    """

    def __init__(
        self,
        tokenizer: Literal["bpe", "bytes"] = "bpe",
        vocab_size: Annotated[int, Field(gt=BYTES, le=2**20)] = 2048,
        vocabulary: str | None = None,
        context: Length = 256,
        val_fraction: Above0Below1 = 0.1,
        test_fraction: Above0Below1 = 0.1,
        split_seed: Seed = 0,
        **options: Any,
    ) -> None:
        try:
            super().__init__(**options)
        except TypeError as error:  # an unknown argument such as `folds`: each fold would learn another vocabulary
            raise RefusedError(f"datamodule: {error}") from error
        check_split(val_fraction, test_fraction, None, None)
        self.tokenizer, self.vocab_size, self.vocabulary, self.context = tokenizer, vocab_size, vocabulary, context
        self.val_fraction, self.test_fraction, self.split_seed = val_fraction, test_fraction, split_seed
        self.documents: Mapping[str, Sequence[Document | Text]] = {}
        self.statistics: Statistics = {"merges": []}
        self.tokens: dict[str, np.ndarray] = {}

    def divided_documents(self) -> Mapping[str, Sequence[Document | Text]]:
        """Load the texts of each split. Raises RefusedError if there are none."""
        raise NotImplementedError(f"{type(self).__name__} must define divided_documents()")

    def learnt_from(self) -> Sequence[Document | Text]:
        """Return the texts that the vocabulary is learnt from."""
        return self.documents["train"]

    def check_lengths(self) -> None:
        """Raises RefusedError if a split has too few tokens."""

    def setup(self, stage: str | None = None) -> None:
        """Load and tokenise the text; a trained model, tested on other text, keeps its own vocabulary."""
        if stage == "predict":
            return
        if not self.documents:
            self.documents = self.divided_documents()
        trained = self.trainer.lightning_module.hparams if self.trainer is not None else self.trained
        if "statistics" in trained:
            statistics = vocabulary_of(trained)
        else:
            statistics = self.statistics if self.tokens else self._learn()
        if not self.tokens or statistics != self.statistics:
            self.statistics = statistics
            vocabulary = Vocabulary(**statistics)
            self.tokens = {name: tokens_of(part, vocabulary) for name, part in self.documents.items()}
            self.check_lengths()

    def _learn(self) -> Statistics:
        """Learn the vocabulary, or take that of a run. Raises RefusedError if the run has none."""
        if self.vocabulary is not None:
            from .. import load_run  # it imports models, which import datamodules

            try:
                return vocabulary_of(load_run(self.vocabulary).model.hparams)
            except (RefusedError, KeyError) as error:
                why = f"expected the folder of a finished run of a language model ({error})"
                raise refusal("datamodule.vocabulary", self.vocabulary, why) from error
        return {"merges": merges_of(self.learnt_from(), self.vocab_size) if self.tokenizer == "bpe" else []}

    @property
    def facts(self) -> TokenFacts:
        """Properties of the data that are passed to the model as arguments."""
        return {"context": self.context, "statistics": self.statistics}

    def fingerprint(self) -> str:
        """Return the SHA-256 of the texts of each split and of the vocabulary, which determine the tokens."""
        content = [{name: digest(part) for name, part in self.documents.items()}, self.statistics]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def vocabulary_of(hparams: Mapping[str, Any]) -> Statistics:
    """Return the vocabulary among the hyper-parameters of a model. Raises KeyError if it has none."""
    return {"merges": hparams["statistics"]["merges"]}
