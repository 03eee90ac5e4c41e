"""Text to tokens and back: the 256 bytes, pairs of tokens that were merged (BPE), and the end of a text."""

import codecs
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # said once, it does not warn of a DataLoader's workers

BYTES = 256
LONGEST = 64  # bytes of a token: a row of dashes needs no more, and a stranger's checkpoint gets no more memory


def byte_letters() -> list[str]:
    """The visible letter by which a byte-level BPE writes each byte (Radford et al., "GPT-2", 2019)."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(BYTES) if byte not in visible]
    letters = {byte: chr(byte) for byte in visible} | {byte: chr(BYTES + n) for n, byte in enumerate(hidden)}
    return [letters[byte] for byte in range(BYTES)]


def words() -> Any:
    """Cuts a text into words, within which tokens are merged; one without an end, such as a genome, into many."""
    long = pre_tokenizers.Split(Regex(r"\S{512}|\s{512}"), "isolated")
    return pre_tokenizers.Sequence([long, pre_tokenizers.ByteLevel(add_prefix_space=False)])


def learn_merges(texts: Iterable[str], vocab_size: int) -> list[list[int]]:
    """The most useful pairs of tokens, in the order in which they are merged, for a vocabulary of `vocab_size`.

    Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016.
    """
    letters = byte_letters()
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = words()
    trainer: Any = trainers.BpeTrainer(
        vocab_size=vocab_size - 1, initial_alphabet=letters, max_token_length=LONGEST, show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    numbers = {letter: byte for byte, letter in enumerate(letters)}
    merges: list[list[int]] = []
    for one, other in json.loads(learner.to_str())["model"]["merges"]:
        if one + other not in numbers:
            numbers[one + other] = BYTES + len(merges)
            merges.append([numbers[one], numbers[other]])
    return merges


class Vocabulary:
    """What `statistics` says: token n is byte n, or merge n - 256; the last is the end of a text.

    `merges` are pairs of tokens; with none of them each byte is a token. Raises ValueError where they are none.
    """

    def __init__(self, merges: Sequence[Sequence[int]]) -> None:
        self.merges = [(one, other) for one, other in merges]
        self.pieces = [bytes([byte]) for byte in range(BYTES)]  # the bytes that each token stands for
        for one, other in self.merges:
            if not (0 <= one < len(self.pieces) and 0 <= other < len(self.pieces)):
                raise ValueError(f"merge {one}, {other}: there are {len(self.pieces)} tokens before it")
            self.pieces.append(self.pieces[one] + self.pieces[other])
            if len(self.pieces[-1]) > LONGEST:
                raise ValueError(f"merge {one}, {other}: a token of more than {LONGEST} bytes")
        self.end = len(self.pieces)
        self.pieces.append(b"")

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        if not self.merges:
            return list(text.encode())
        if not hasattr(self, "encoder"):
            self.encoder = self._encoder()
        return self.encoder.encode(text).ids

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens; what is no UTF-8 becomes �."""
        return "".join(self.stream(tokens))

    def stream(self, tokens: Iterable[int]) -> Iterator[str]:
        """The text of each token as it comes; a letter of several bytes comes once it is whole."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in tokens:
            yield decoder.decode(self.pieces[token])
        yield decoder.decode(b"", final=True)

    def _encoder(self) -> Tokenizer:
        letters = byte_letters()
        written = ["".join(letters[byte] for byte in piece) for piece in self.pieces[: self.end]]
        merges = [(written[one], written[other]) for one, other in self.merges]
        encoder = Tokenizer(models.BPE({name: number for number, name in enumerate(written)}, merges))
        encoder.pre_tokenizer = words()
        return encoder
