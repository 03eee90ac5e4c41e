"""What networks make of a row's values as they are in the table: numbers of one scale, and rows of an embedding."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FAR = 1e6  # bent, it is 3 as all numbers beyond are


def two_floats(values: Tensor) -> Tensor:
    """Numbers (…) of float64 as float32 (…, 2): the nearest one, and what it leaves out. Their sum has 48 bits.

    So a number far from zero, such as a time of today in seconds, keeps what tells it from others, also on devices
    that have no float64 (Apple's).
    """
    near = values.float()
    rest = (values - near.double()).float()
    return torch.stack([near, rest.masked_fill(~near.isfinite(), 0.0)], -1)


def as_float64(values: Tensor) -> Tensor:
    """In float64, which a device may not have: on the CPU then."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def scaled(numbers: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """Numbers (…, 2) less `centre` (…, 2), in units of `spread` (…), as float32 (…): centred first, so that nothing is
    lost where they lie close together."""
    return (numbers - centre).sum(-1) / spread


class Features(nn.Module):
    """Numbers (B, F, 2), NaN where missing, and codes (B, C) to what networks take; learnt from the training rows.

    `statistics` holds of each column of numbers its `median` and `spread`, of each column of categories the known
    texts and their codes, as the datamodule tells them. All of it is kept in buffers, so that a checkpoint is enough.
    """

    centre: Tensor
    spread: Tensor
    known: Tensor
    row: Tensor
    unknown: Tensor

    def __init__(self, statistics: dict[str, Any]) -> None:
        super().__init__()
        numbers, columns = statistics["numbers"].values(), statistics["categories"].values()
        self.category_sizes = [len(column) for column in columns]
        known = torch.tensor([code for column in columns for code in column.values()], dtype=torch.int64)
        medians = torch.tensor([each["median"] for each in numbers], dtype=torch.float64)
        self.register_buffer("centre", two_floats(medians))
        self.register_buffer("spread", torch.tensor([each["spread"] for each in numbers]))
        self.register_buffer("known", known.sort().values)
        self.register_buffer("row", known.argsort())
        self.register_buffer("unknown", len(known) + torch.arange(len(self.category_sizes)))

    def forward(self, numbers: Tensor, categories: Tensor) -> tuple[Tensor, Tensor]:
        """Values (B, F, 2), each number scaled and whether it is missing; and rows (B, C) of a CategoryEmbedding.

        Scaled by median and spread, and bent to stay within ±3: a value far out says no more than that it is. Source:
        Holzmüller et al., "Better by Default: Strong Pre-Tuned MLPs", 2024, section 3.
        """
        missing = numbers[..., 0].isnan()
        values = scaled(numbers, self.centre, self.spread).masked_fill(missing, 0.0).clamp(-FAR, FAR)
        bent = values / torch.hypot(torch.ones_like(values), values / 3)
        return torch.stack([bent, missing.to(bent.dtype)], -1), self._rows(categories)

    def _rows(self, codes: Tensor) -> Tensor:
        if len(self.known) == 0:
            return self.unknown.expand_as(codes)
        place = torch.searchsorted(self.known, codes.contiguous()).clamp(max=len(self.known) - 1)
        return torch.where(self.known[place] == codes, self.row[place], self.unknown)


class ColumnEmbedding(nn.Module):
    """Makes vectors of columns. An optimizer does not let the parameters of such a module decay (tabular.py)."""


class CategoryEmbedding(ColumnEmbedding):
    """Rows (B, C) to vectors (B, C, `dim`). A category that the training did not have is the mean of its column."""

    means: Tensor

    def __init__(self, category_sizes: list[int], dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(sum(category_sizes), dim))
        nn.init.uniform_(self.weight, -(dim**-0.5), dim**-0.5)
        shares = [torch.full((1, size), 1 / size) for size in category_sizes]
        self.register_buffer("means", torch.block_diag(*shares) if shares else torch.empty(0, 0), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        return F.embedding(rows, torch.cat([self.weight, self.means @ self.weight]))
