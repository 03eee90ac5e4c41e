"""Baselines for language_modeling: byte n-grams with backoff, on the same files.

Two smoothing methods, and two readings of "order 5": a context of four bytes (5-gram) and of five. The n-grams count
all training files, of which the model sees a third in its minute and a half.
"""

from typing import Any

import numpy as np

METRIC = "bits_per_byte"
HIGHER_IS_BETTER = False
MARGIN = 0.05  # bits per byte below the best of them
PLOT = "samples"
README = "{mean:.2f} bits per byte (6-gram {6-gram, modified Kneser-Ney:.2f})"


def baselines(datamodule: Any) -> dict[str, float]:
    """Bits per byte of the test files for each n-gram."""
    train, test = ([document.read() for document in datamodule.documents[name]] for name in ("train", "test"))
    return {
        f"{context + 1}-gram, {name}": bits_per_byte(train, test, context, smoothing)
        for name, smoothing in (("Witten-Bell", witten_bell), ("modified Kneser-Ney", kneser_ney))
        for context in (4, 5)
    }


def bits_per_byte(train: list[bytes], test: list[bytes], context: int, smoothing: Any) -> float:
    """Interpolate, from the shortest context to the longest, each probability with that of the context before."""
    counts = [np.unique(grams(train, length + 1, context), return_counts=True) for length in range(context + 1)]
    probabilities = np.full(sum(map(len, test)), 1 / 256)
    for length in range(context + 1):
        keys, count = counts[length]
        if smoothing is kneser_ney and length < context:
            # For shorter grams, count the distinct longer ones that contain them (Kneser & Ney, 1995).
            keys, count = np.unique(counts[length + 1][0] & np.uint64(256 ** (length + 1) - 1), return_counts=True)
        histories, first = np.unique(keys >> np.uint64(8), return_index=True)
        seen = grams(test, length + 1, context)
        here = np.minimum(np.searchsorted(keys, seen), len(keys) - 1)
        own = np.where(keys[here] == seen, count[here], 0)
        history = np.minimum(np.searchsorted(histories, seen >> np.uint64(8)), len(histories) - 1)
        known = histories[history] == seen >> np.uint64(8)
        finer = smoothing(count, first, own, history, probabilities)
        probabilities = np.where(known, finer, probabilities)
    return float(-np.log2(probabilities).mean())


def grams(texts: list[bytes], length: int, context: int) -> np.ndarray:
    """The `length` bytes that end at each byte of the texts, as one number each; zero bytes precede a text."""
    parts = []
    for text in texts:
        values = np.concatenate([np.zeros(context, np.uint8), np.frombuffer(text, np.uint8)]).astype(np.uint64)
        codes = np.zeros(len(text), np.uint64)
        for place in range(length):
            begin = context + 1 - length + place
            codes = codes * np.uint64(256) + values[begin : begin + len(text)]
        parts.append(codes)
    return np.concatenate(parts)


def witten_bell(
    count: np.ndarray, first: np.ndarray, own: np.ndarray, history: np.ndarray, shorter: np.ndarray
) -> np.ndarray:
    """(c + T · p) / (N + T), with T the number of distinct bytes after the history (Witten & Bell, 1991)."""
    total = np.add.reduceat(count, first)[history]
    kinds = np.diff(np.append(first, len(count)))[history]
    return (own + kinds * shorter) / (total + kinds)


def kneser_ney(
    count: np.ndarray, first: np.ndarray, own: np.ndarray, history: np.ndarray, shorter: np.ndarray
) -> np.ndarray:
    """Discounts for counts of one, two, and three or more: Chen & Goodman, 1998, section 3."""
    found = [np.count_nonzero(count == number) for number in (1, 2, 3, 4)]
    y = found[0] / (found[0] + 2 * found[1])
    discounts = np.array([0.0, *(n - (n + 1) * y * found[n] / max(found[n - 1], 1) for n in (1, 2, 3))]).clip(0)
    total = np.add.reduceat(count, first)[history]
    freed = np.add.reduceat(discounts[np.minimum(count, 3)], first)[history]
    return (np.maximum(own - discounts[np.minimum(own, 3)], 0) + freed * shorter) / total
