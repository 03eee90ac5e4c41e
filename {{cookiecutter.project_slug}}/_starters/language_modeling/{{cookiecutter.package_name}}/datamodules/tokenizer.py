"""Byte-level BPE tokenizer: 256 bytes, merged pairs of tokens, and an end-of-text token."""

import codecs
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypedDict

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # once set, it does not warn about the workers of a DataLoader

BYTES = 256
MAX_TOKEN_BYTES = 64  # bytes per token: enough for a row of dashes, and a limit for untrusted checkpoints


def byte_letters() -> list[str]:
    """Return the printable character that byte-level BPE writes for each byte (Radford et al., "GPT-2", 2019)."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(BYTES) if byte not in visible]
    letters = {byte: chr(byte) for byte in visible} | {byte: chr(BYTES + n) for n, byte in enumerate(hidden)}
    return [letters[byte] for byte in range(BYTES)]


def words() -> Any:
    """Return a splitter of text into words, within which tokens are merged; long ones, such as a genome, are cut."""
    long = pre_tokenizers.Split(Regex(r"\S{512}|\s{512}"), "isolated")
    return pre_tokenizers.Sequence([long, pre_tokenizers.ByteLevel(add_prefix_space=False)])


def learn_merges(texts: Iterable[str], vocab_size: int) -> list[list[int]]:
    """Learn pairs of tokens to merge, in order, for a vocabulary of `vocab_size`.

    Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016.
    """
    letters = byte_letters()
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = words()
    trainer: Any = trainers.BpeTrainer(
        vocab_size=vocab_size - 1, initial_alphabet=letters, max_token_length=MAX_TOKEN_BYTES, show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    numbers = {letter: byte for byte, letter in enumerate(letters)}
    merges: list[list[int]] = []
    for one, other in json.loads(learner.to_str())["model"]["merges"]:
        if one + other not in numbers:
            numbers[one + other] = BYTES + len(merges)
            merges.append([numbers[one], numbers[other]])
    return merges


class Statistics(TypedDict):
    """Vocabulary learnt from the training text."""

    merges: list[list[int]]  # pairs of earlier tokens; without any, each byte is a token


class Vocabulary:
    """Vocabulary of a model, built from its `statistics`: token n is byte n or merge n - 256, the last ends a text.

    Raises ValueError if the merges are invalid.
    """

    def __init__(self, merges: Sequence[Sequence[int]]) -> None:
        self.merges = [(one, other) for one, other in merges]
        self.pieces = [bytes([byte]) for byte in range(BYTES)]  # bytes of each token
        for one, other in self.merges:
            if not (0 <= one < len(self.pieces) and 0 <= other < len(self.pieces)):
                raise ValueError(f"merge {one}, {other}: there are {len(self.pieces)} tokens before it")
            self.pieces.append(self.pieces[one] + self.pieces[other])
            if len(self.pieces[-1]) > MAX_TOKEN_BYTES:
                raise ValueError(f"merge {one}, {other}: a token of more than {MAX_TOKEN_BYTES} bytes")
        self.end = len(self.pieces)
        self.pieces.append(b"")

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """Encode a text as tokens."""
        if not self.merges:
            return list(text.encode())
        if not hasattr(self, "encoder"):
            self.encoder = self._encoder()
        return self.encoder.encode(text).ids

    def decode(self, tokens: Iterable[int]) -> str:
        """Decode tokens to text; invalid UTF-8 becomes �."""
        return "".join(self.stream(tokens))

    def stream(self, tokens: Iterable[int]) -> Iterator[str]:
        """Decode tokens one by one; a character of several bytes is yielded once it is complete."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in tokens:
            yield decoder.decode(self.pieces[token])
        yield decoder.decode(b"", final=True)

    def _encoder(self) -> Tokenizer:
        letters = byte_letters()
        names = ["".join(letters[byte] for byte in piece) for piece in self.pieces[: self.end]]
        merges = [(names[one], names[other]) for one, other in self.merges]
        encoder = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, merges))
        encoder.pre_tokenizer = words()
        return encoder
