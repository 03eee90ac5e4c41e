"""Your own texts and their classes, in a CSV, TSV, JSON or JSONL file."""

import csv
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from pydantic import FilePath, PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..engine import From0Below1, RefusedError, log, printable, refusal
from ..engine.order import BatchOrder, batches
from ..models.classes import decide
from ..models.text_classifier import LabelledTextStatistics
from .documents import Text
from .prompts import read_text
from .rows import SUFFIXES, Row, read_rows, row_keys, some_lines
from .splits import check_split, indices_of, log_splits, split_as_given, split_at_random
from .tokenized import TokenizedDataModule
from .tokenizer import Vocabulary

MAX_SHOWN = 5  # classes of a single text


class LabelledTextFacts(TypedDict):
    """The data's properties that are passed to the model."""

    context: int  # maximum number of tokens
    class_names: list[str]
    statistics: LabelledTextStatistics


class LabelledTextDataModule(TokenizedDataModule):
    """Rows of the file `root`, with the columns `text` and `label`, and `split` if the file says it.

    `test`, another such file, is the test split. Splits at random are stratified by class, and equal texts stay in one
    split. A batch is tokens (B, T), which begin with the end token, which of them belong to the text (B, T), and
    classes (B,). A text has `context` tokens at most; the rest of it is cut off. With `balance`, an epoch has equally
    many training texts of each class: those of rare classes are repeated, others are left to later epochs.
    """

    sample_name = "texts"
    input_is_text = True  # predict.py input="Well made" is a text
    input_example = "'Well made, and it lasts'"

    def __init__(
        self,
        root: FilePath,
        test: FilePath | None = None,
        text: str = "text",
        label: str = "label",
        test_fraction: From0Below1 = 0.2,
        balance: bool = False,
        folds: PositiveInt | None = None,
        fold: PositiveInt | None = None,
        **options: Any,
    ) -> None:
        super().__init__(test_fraction=test_fraction, **options)
        check_split(self.val_fraction, test_fraction, folds, fold)
        self.root, self.test = Path(root), None if test is None else Path(test)
        self.columns = {"text": text, "label": label}
        self.balance, self.folds, self.fold = balance, folds, fold
        self.class_names: list[str] = []
        self.rows: dict[str, list[Row]] = {}
        self.texts: list[str] = []  # given to predict.py
        self.encoded = np.empty(0, np.int64)  # their tokens

    def divided_documents(self) -> Mapping[str, list[Text]]:
        rows, origins = self._read()
        self.class_names = self._classes_of(rows)
        parts = divide(rows, self.class_names, self._split_options())
        self.rows = {name: [rows[number] for number in part.tolist()] for name, part in parts.items()}
        log_classes(self.rows, self.class_names)
        sizes = {name: len(part) for name, part in self.rows.items()}
        log_splits(sizes, origins, self.val_fraction, self.test_fraction, self.folds, self.fold)
        return {name: self._documents(part) for name, part in self.rows.items()}

    def _documents(self, rows: Sequence[Row]) -> list[Text]:
        return [Text(f"{row.line}", self.root, row.texts[0]) for row in rows]

    def _read(self) -> tuple[list[Row], dict[str, str]]:
        """Read the rows, and where each split that is given comes from."""
        rows = read_rows(self.root, self.columns)
        names = {row.split for row in rows} - {""}
        origins = {name: f"given as {name}" for name in names}
        if self.test is not None:
            if "test" in names:
                why = f"{self.root} has a split test of its own; expected one test"
                raise refusal("datamodule.test", self.test, why)
            tested = read_rows(self.test, self.columns, "datamodule.test", with_splits=False)
            rows = [row._replace(split=row.split or "train") for row in rows]
            rows += [row._replace(split="test") for row in tested]
            origins = {"train": f"datamodule.root={self.root}", **origins, "test": f"datamodule.test={self.test}"}
        if not self.test_fraction and "test" not in origins:
            why = "leaves no texts to test on; expected more than 0, or datamodule.test=<file>"
            raise refusal("datamodule.test_fraction", self.test_fraction, why)
        if names and "train" not in names and self.test_fraction < 1:
            raise RefusedError("datamodule.root: no row has the split train", "datamodule.root")
        return [row._replace(texts=(row.texts[0], row.texts[1].strip())) for row in rows], origins

    def _classes_of(self, rows: Sequence[Row]) -> list[str]:
        """Return the classes in order, or those of the trained model. Raises RefusedError if they are too few."""
        trained = self.trained.get("class_names", ()) if self.test_fraction == 1 else ()
        names = sorted({row.texts[1] for row in rows if trained or row.split in ("", "train")})
        if trained:
            return [*trained] if {*names} <= {*trained} else names
        for row in rows:
            if row.texts[1] not in names:
                why = f"line {row.line} of the split {row.split} has the class {row.texts[1]!r}, which train lacks"
                raise refusal("datamodule.label", self.columns["label"], why, names, row.texts[1])
        if len(names) < 2:
            why = f"the column has a single class, {names[0]!r}; expected two or more"
            raise refusal("datamodule.label", self.columns["label"], why)
        return names

    def _split_options(self) -> dict[str, Any]:
        return {
            "val_fraction": self.val_fraction, "test_fraction": self.test_fraction, "seed": self.split_seed,
            "folds": self.folds, "fold": self.fold, "sample_name": self.sample_name,
        }  # fmt: skip

    def learnt_from(self) -> Sequence[Text]:  # type: ignore[bad-override]
        """Return all texts but those of the test, so that all folds have one vocabulary."""
        both = sorted([*self.rows["train"], *self.rows["val"]], key=lambda row: row.line)
        return self._documents(both)

    def check_lengths(self) -> None:
        """Find the tokens of each text, and log how many texts are cut."""
        for name, tokens in self.tokens.items():
            ends = torch.from_numpy(np.flatnonzero(tokens == tokens[0]))
            lengths = ends.diff()
            rows = self.rows[name]
            targets = torch.tensor([self.class_names.index(row.texts[1]) for row in rows], dtype=torch.long)
            keys = row_keys([row._replace(texts=row.texts[:1]) for row in rows])
            self.splits[name] = (ends[:-1], lengths, targets, torch.from_numpy(keys.view(np.int64).copy()))
            self.ids[name] = [f"line {row.line}" for row in rows]
            if cut := [row.line for row, length in zip(rows, lengths.tolist(), strict=True) if length > self.context]:
                what = f"{len(cut):,} of {len(rows):,} {name} texts have more tokens ({some_lines(cut)})"
                more = f"datamodule.context={lengths.max()} takes all of them whole"
                log.info(f"Cut at datamodule.context={self.context}: {what}; {more}")

    @property
    def facts(self) -> LabelledTextFacts:  # type: ignore[bad-override]
        """Properties of the data that are passed to the model as arguments."""
        counts = torch.bincount(self.splits["train"][2], minlength=len(self.class_names)).tolist()
        statistics: LabelledTextStatistics = {**self.statistics, "class_counts": counts}
        return {"context": self.context, "class_names": self.class_names, "statistics": statistics}

    def describe(self) -> str:
        """Summarise the data in one line for the log."""
        vocabulary = len(Vocabulary(**self.statistics))
        return f"{vocabulary:,} tokens, {len(self.class_names)} classes, texts: {self.split_sizes()}"

    def fingerprint(self) -> str:
        labels = {name: [row.texts[1] for row in part] for name, part in self.rows.items()}
        return hashlib.sha256(f"{super().fingerprint()}{labels}".encode()).hexdigest()

    def strata(self) -> Tensor | None:
        return self.splits["train"][2] if self.balance else None

    def dataset(self, split: str) -> "TextWindows":
        begins, lengths, targets, _ = self.splits[split]
        return TextWindows(self.tokens[split], begins, lengths, targets, self.context)

    def take_whole(self) -> None:
        super().take_whole()
        self.test = None

    def trained_on(self) -> np.ndarray:
        return torch.cat([self.splits[split][3] for split in ("train", "val")]).numpy().view(np.uint64)

    def is_seen(self, keys: np.ndarray) -> np.ndarray:
        return np.isin(self.splits["test"][3].numpy().view(np.uint64), keys)

    # Input and output of predict.py

    def read_inputs(self, source: str, hparams: Mapping[str, Any]) -> list[str]:
        """Read the column of texts of a table; else `source` is a text, or a text file that holds one."""
        path = Path(source)
        if path.is_file() and path.suffix.lower() in SUFFIXES:
            rows = read_rows(path, {"text": self.columns["text"]}, "input", with_splits=False)
            self.texts = [row.texts[0] for row in rows]
        else:
            self.texts = [read_text(source, "text")]
        vocabulary = Vocabulary(hparams["statistics"]["merges"])
        tokens = [[vocabulary.end, *vocabulary.encode(text)][: self.context] for text in self.texts]
        lengths = torch.tensor([len(each) for each in tokens])
        self.encoded = np.concatenate([np.array(each, np.int64) for each in tokens])
        self.inputs = (lengths.cumsum(0) - lengths, lengths, torch.zeros_like(lengths))
        return []

    def predict_dataloader(self) -> DataLoader:
        begins, lengths, targets = self.inputs
        windows = TextWindows(self.encoded, begins, lengths, targets, self.context)
        return batches(windows, BatchOrder(len(windows), self.batch_size))

    def predictions_name(self, source: str) -> str:
        return f"{Path(source).stem}.csv" if Path(source).is_file() else "text.csv"

    def write_predictions(self, outputs: list[Tensor], path: Path, hparams: Mapping[str, Any]) -> int:
        """Write a row for each text: the text, its class, probability of each class. Return the number of texts."""
        class_names = hparams["class_names"]
        probabilities = torch.cat(outputs).float().cpu()
        decisions = decide(probabilities, **hparams.get("decision", {})).tolist()
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["text", "class", *class_names])
            for text, decision, row in zip(self.texts, decisions, probabilities.tolist(), strict=True):
                writer.writerow([text, class_names[decision], *(f"{value:.6f}" for value in row)])
        if len(self.texts) == 1:
            values, order = probabilities[0].sort(descending=True)
            ranked = zip(order.tolist()[:MAX_SHOWN], values.tolist(), strict=False)
            shown = ", ".join(f"{class_names[k]} {value:.3f}" for k, value in ranked)
            log.info(printable(f"{class_names[decisions[0]]} ({shown})"))
        return len(self.texts)


class TextWindows(Dataset[tuple[Tensor, ...]]):
    """Texts of different lengths: the text n has `lengths` (N,) tokens from `begins` (N,) on, and a class (N,)."""

    def __init__(self, tokens: np.ndarray, begins: Tensor, lengths: Tensor, targets: Tensor, context: int) -> None:
        self.tokens, self.begins, self.targets, self.context = tokens, begins, targets, context
        self.lengths = lengths.clamp(max=context)
        self.step = -(-context // 4)  # of the lengths of windows: few, since each is compiled anew with model.compile

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        lengths = self.lengths[index, None]
        offsets = torch.arange(min(-(-int(lengths.max()) // self.step) * self.step, self.context))
        places = self.begins[index, None] + offsets.minimum(lengths - 1)
        windows = torch.from_numpy(self.tokens[places.numpy()].astype(np.int64))
        return windows, offsets < lengths, self.targets[index]


def divide(rows: Sequence[Row], class_names: list[str], options: dict[str, Any]) -> dict[str, Tensor]:
    """Divide rows as their splits say, or at random and stratified by class; return the numbers (n,) of each split.

    Equal texts stay in one split: the first of them stands for all. Those of different classes are logged.
    """
    members: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(rows):
        members.setdefault((row.texts[0], row.split), []).append(number)
    groups = list(members.values())
    torn = [group for group in groups if len({rows[number].texts[1] for number in group}) > 1]
    if torn:
        lines = some_lines([rows[number].line for number in torn[0]])
        log.warning(f"Texts with a copy in another class: {sum(map(len, torn)):,}, e.g. {lines}")
    first = [rows[group[0]] for group in groups]
    strata = torch.tensor([class_names.index(row.texts[1]) for row in first])
    if first[0].split:
        parts = split_as_given(indices_of([row.split for row in first]), strata=strata, **options)
    else:
        parts = split_at_random(len(first), strata=strata, strata_names=class_names, **options)
    numbers = {name: [each for group in part for each in groups[group]] for name, part in parts._asdict().items()}
    return {name: torch.tensor(part, dtype=torch.long) for name, part in numbers.items()}


def log_classes(rows: Mapping[str, Sequence[Row]], class_names: Sequence[str]) -> None:
    """Log the number of texts of each class in each split."""
    for split, part in rows.items():
        counts = Counter(row.texts[1] for row in part)
        sizes = [f"{name} {counts[name]:,}" for name in class_names]
        if part:
            log.info(f"Classes of {split}: {', '.join(sizes[:20])}{', …' if len(sizes) > 20 else ''}")
