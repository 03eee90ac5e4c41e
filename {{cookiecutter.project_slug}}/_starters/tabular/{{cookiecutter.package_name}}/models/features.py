"""Input layers for tables: scaled numbers and embedded categories, from the values as they are in the table."""

import itertools
import math
from typing import Annotated, Literal, NotRequired, TypedDict

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Len
from torch import Tensor, nn

BINS = 32  # of a column of numbers, at most: quantiles of the training rows
MAX_SCALED = 1e6  # prevents overflow; beyond it the bent value is 3 anyway

NumberEncoding = Literal["piecewise", "periodic"]  # by which a network embeds numbers
Positive = Annotated[float, Gt(0)]


class NumberStatistics(TypedDict):
    """Statistics of a number column; `spread` is the interquartile range, or the standard deviation if that is 0."""

    median: float
    spread: Positive
    edges: Annotated[list[float], Len(1, BINS + 1)]  # of its bins, rising from the minimum to the maximum


class TargetStatistics(TypedDict):
    """Statistics of a target that is a number; of several, in their order."""

    mean: float | list[float]
    std: Positive | list[Positive]


class DateStatistics(TypedDict):
    """The format of a column of dates, and which parts of them are columns to predict from (datamodules/dates.py)."""

    format: str
    parts: list[str]


class Statistics(TypedDict):
    """Statistics of the training rows, by column."""

    numbers: dict[str, NumberStatistics]
    categories: dict[str, dict[str, int]]  # code of each known text; "" stands for a missing one
    target: NotRequired[TargetStatistics]
    class_counts: NotRequired[list[Annotated[int, Ge(0)]]]  # rows of each class, if the target is one
    dates: NotRequired[dict[str, DateStatistics]]
    ordinal: NotRequired[dict[str, list[str]]]  # the texts of a column, from the lowest


def two_floats(values: Tensor) -> Tensor:
    """Split float64 numbers (…) into float32 (…, 2): the nearest one and the remainder. Their sum has 48 bits.

    A number far from zero, such as a current time in seconds, thus keeps the digits that matter, even on devices
    without float64 (Apple's).
    """
    nearest = values.float()
    remainder = (values - nearest.double()).float()
    return torch.stack([nearest, remainder.masked_fill(~nearest.isfinite(), 0.0)], -1)


def as_float64(values: Tensor) -> Tensor:
    """Convert to float64, on the CPU if the device does not support it."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def scaled(numbers: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """Subtract `centre` (…, 2) from numbers (…, 2), then divide by `spread` (…): float32 (…).

    Centring comes first, so that numbers close together keep their digits.
    """
    return (numbers - centre).sum(-1) / spread


class Features(nn.Module):
    """Scale numbers (B, F, 2), NaN where missing, and look up codes (B, C), with statistics of the training rows.

    `numbers` and `categories` name the columns. All statistics are buffers, so that a checkpoint is self-contained.
    """

    centre: Tensor
    spread: Tensor
    lower: Tensor
    width: Tensor
    known: Tensor
    row: Tensor
    unknown: Tensor

    def __init__(self, numbers: list[str], categories: list[str], statistics: Statistics) -> None:
        super().__init__()
        columns = [statistics["numbers"][name] for name in numbers]
        codes = [statistics["categories"][name].values() for name in categories]
        self.category_sizes = [len(column) for column in codes]
        known = torch.tensor([code for column in codes for code in column], dtype=torch.int64)
        medians = torch.tensor([column["median"] for column in columns], dtype=torch.float64)
        self.register_buffer("centre", two_floats(medians))
        self.register_buffer("spread", torch.tensor([column["spread"] for column in columns]))
        bins = [self._bins(place, column["edges"]) for place, column in enumerate(columns)]
        self.register_buffer("lower", torch.stack([lower for lower, _ in bins]) if bins else torch.empty(0, BINS))
        self.register_buffer("width", torch.stack([width for _, width in bins]) if bins else torch.empty(0, BINS))
        self.register_buffer("known", known.sort().values)
        self.register_buffer("row", known.argsort())
        self.register_buffer("unknown", len(known) + torch.arange(len(self.category_sizes)))
        self.register_load_state_dict_post_hook(_check_rows)

    def forward(self, numbers: Tensor, categories: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (B, F, 3) and rows (B, C) of a CategoryEmbedding.

        A value is a scaled number, a missing flag, and the number's place among the bins, in units of BINS. Numbers are
        scaled by median and spread, then smoothly bent into ±3 to limit outliers. Source: Holzmüller et al., "Better by
        Default: Strong Pre-Tuned MLPs", 2024, section 3. The place rises linearly within a bin.
        """
        missing = numbers[..., 0].isnan()
        values = scaled(numbers, self.centre, self.spread).masked_fill(missing, 0.0).clamp(-MAX_SCALED, MAX_SCALED)
        bent = values / torch.hypot(torch.ones_like(values), values / 3)
        place = ((values.unsqueeze(-1) - self.lower) / self.width).clamp(0, 1).mean(-1)
        return torch.stack([bent, missing.to(bent.dtype), place], -1), self._rows(categories)

    def _bins(self, column: int, edges: list[float]) -> tuple[Tensor, Tensor]:
        """Return lower edges (BINS,) and widths (BINS,) of a column's bins, scaled; no value reaches those it lacks.

        Raises ValueError if the edges do not rise.
        """
        if not all(lower < upper for lower, upper in itertools.pairwise(edges)):
            raise ValueError("the edges of the bins in its statistics do not rise")
        pairs = two_floats(torch.tensor(edges, dtype=torch.float64))
        bounds = scaled(pairs, self.centre[column], self.spread[column]).clamp(-MAX_SCALED, MAX_SCALED).unique()
        lower, width = torch.full((BINS,), MAX_SCALED), torch.ones(BINS)
        lower[: len(bounds) - 1], width[: len(bounds) - 1] = bounds[:-1], bounds.diff()
        return lower, width

    def _rows(self, codes: Tensor) -> Tensor:
        if len(self.known) == 0:
            return self.unknown.expand_as(codes)
        place = torch.searchsorted(self.known, codes.contiguous()).clamp(max=len(self.known) - 1)
        return torch.where(self.known[place] == codes, self.row[place], self.unknown)


def _check_rows(features: Features, _: object) -> None:
    """Raises ValueError if loaded buffers name rows that the embedding does not have."""
    size = len(features.known)
    rows = torch.cat([features.row, features.unknown])
    if not torch.equal(rows.sort().values, torch.arange(size + len(features.unknown), device=rows.device)):
        raise ValueError(f"its features name other rows than the {size} of its categories")


class ColumnEmbedding(nn.Module):
    """Base class of embeddings, whose parameters do not get the weight decay of the others (tabular.py)."""


class CategoryEmbedding(ColumnEmbedding):
    """Embed rows (B, C) as vectors (B, C, `dim`); an unknown category gets the mean of its column.

    Vectors begin small and decay (`category_decay` of TabularModel): a category of few rows, such as one of 365 days,
    stays near the others unless its rows say otherwise.
    """

    means: Tensor

    def __init__(self, category_sizes: list[int], dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(sum(category_sizes), dim))
        nn.init.uniform_(self.weight, -0.3 * dim**-0.5, 0.3 * dim**-0.5)
        averages = [torch.full((1, size), 1 / size) for size in category_sizes]
        self.register_buffer("means", torch.block_diag(*averages) if averages else torch.empty(0, 0), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        return F.embedding(rows, torch.cat([self.weight, self.means @ self.weight]))


class NumberEmbedding(ColumnEmbedding):
    """Embed values (B, F, 3) as vectors (B, F, `dim`): a linear layer for each column, on an encoding, then a ReLU.

    The encoding is "piecewise" linear, a feature for each bin that rises from 0 to 1 within it, or "periodic": sines
    and cosines of the scaled number at `frequencies` learnt frequencies, which begin at a scale of `sigma`. Source:
    Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning", 2022, sections 3.2 and 3.3.
    """

    starts: Tensor

    def __init__(self, kind: NumberEncoding, num_numbers: int, dim: int, frequencies: int, sigma: float) -> None:
        super().__init__()
        self.periodic = kind == "periodic"
        size = 2 * frequencies if self.periodic else BINS
        if self.periodic:
            self.frequency = nn.Parameter(sigma * torch.randn(num_numbers, frequencies))
        self.register_buffer("starts", torch.arange(BINS), persistent=False)
        self.weight = nn.Parameter(torch.empty(num_numbers, size, dim))
        self.bias = nn.Parameter(torch.zeros(num_numbers, dim))
        nn.init.normal_(self.weight, std=size**-0.5)

    def forward(self, values: Tensor) -> Tensor:
        return (torch.einsum("bfk,fkd->bfd", self._encode(values), self.weight) + self.bias).relu()

    def _encode(self, values: Tensor) -> Tensor:
        """Encode values (B, F, 3) as (B, F, K)."""
        if not self.periodic:
            return (BINS * values[..., 2:] - self.starts).clamp(0, 1)
        angle = 2 * math.pi * self.frequency * values[..., :1]
        return torch.cat([angle.sin(), angle.cos()], -1)
