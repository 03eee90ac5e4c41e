"""Numbers of a table: their bins, by which networks embed them, for any column and from any checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command, fitting
from torch import Tensor

from {{ cookiecutter.package_name }}.datamodules.diamonds import DiamondsDataModule
from {{ cookiecutter.package_name }}.datamodules.table import TableDataModule
from {{ cookiecutter.package_name }}.datamodules.table_files import write_table
from {{ cookiecutter.package_name }}.models.features import BINS, Features, NumberEmbedding, NumberStatistics, two_floats
from {{ cookiecutter.package_name }}.models.ft_transformer import FTTransformer
from {{ cookiecutter.package_name }}.models.resnet import ResNet

NETWORKS = {"resnet": ResNet, "ft_transformer": FTTransformer}
EMBEDDINGS = ("piecewise", "periodic", None)
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def diamonds() -> DiamondsDataModule:
    data = DiamondsDataModule(target="price")
    data.setup("fit")
    return data


def features_of(column: NumberStatistics) -> Features:
    return Features(["x"], [], {"numbers": {"x": column}, "categories": {}})


def encoded(features: Features, numbers: list[float]) -> Tensor:
    """Return the piecewise linear encoding (N, BINS) of numbers of a single column."""
    pairs = two_floats(torch.tensor(numbers, dtype=torch.float64)[:, None])
    values, _ = features(pairs, torch.empty(len(numbers), 0, dtype=torch.int64))
    return NumberEmbedding("piecewise", 1, 4, 4, 0.1)._encode(values)[:, 0]


def test_each_bin_of_a_number_has_as_many_training_rows(diamonds: DiamondsDataModule) -> None:
    """Of the prices of 37,655 diamonds, among which few are equal, a 32nd is in each bin."""
    price = diamonds.splits["train"][2].double().sum(-1)
    data = DiamondsDataModule(target="carat")
    data.setup("fit")
    edges = data.statistics["numbers"]["price"]["edges"]
    counts, _ = np.histogram(price.numpy(), edges)
    assert len(counts) == BINS
    assert counts == pytest.approx(len(price) / BINS, rel=0.1)


def test_a_bin_rises_from_0_to_1_between_its_edges() -> None:
    """Gorishniy et al. 2022, equation 1: 0 in the bins above a value, 1 in those below, between them in its own."""
    features = features_of({"median": 1e9 + 4, "spread": 2.0, "edges": [1e9, 1e9 + 2, 1e9 + 3, 1e9 + 8]})
    values = [1e9 - 5, 1e9, 1e9 + 1, 1e9 + 2.5, 1e9 + 7, 1e9 + 8, 1e9 + 90]
    expected = [[0, 0, 0], [0, 0, 0], [0.5, 0, 0], [1, 0.5, 0], [1, 1, 0.8], [1, 1, 1], [1, 1, 1]]
    found = encoded(features, values)
    assert torch.allclose(found[:, :3], torch.tensor(expected, dtype=torch.float32), atol=1e-5)
    assert not found[:, 3:].any()


COLUMNS: dict[str, Any] = {
    "few values": [1.0, 1.0, 2.0, 5.0] * 25,
    "constant in the training rows": [3.0] * 100,
    "mostly zero": [0.0] * 97 + [1.0, 2.0, 1e9],
    "missing": [np.nan] * 99 + [1.0],
    "far outliers": [*RANDOM.normal(size=98), 1e30, -1e30],
    "a wide range": 10.0 ** RANDOM.uniform(-12, 12, 100),
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_any_column_gives_finite_outputs_and_gradients(name: str, embedding: Any, kind: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": COLUMNS[kind], "other": RANDOM.normal(size=100), "y": RANDOM.normal(size=100)})
    write_table(frame, tmp_path / "mine.csv")
    data = TableDataModule(root=tmp_path / "mine.csv", columns=["x", "other"])
    data.setup("fit")
    features = Features(*data.chosen, data.statistics)
    network = NETWORKS[name](2, [], 1, number_embedding=embedding)
    asked = torch.tensor([[np.nan, 0.0], [3e38, 0.0], [-3e38, 0.0], [np.inf, 0.0], [-np.inf, 0.0], [3.5, 0.0]])
    numbers = torch.cat([data.splits["train"][0], asked[:, None].expand(-1, 2, -1)])
    outputs = network(*features(numbers, torch.empty(len(numbers), 0, dtype=torch.int64)))
    outputs.square().sum().backward()
    assert outputs.isfinite().all()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_embedded_numbers_fit_a_jump_that_a_plain_network_smooths(name: str) -> None:
    """Piecewise and periodic encodings both fit a target that alternates along a number; without them it stays."""
    numbers = torch.linspace(0, 1, 512, dtype=torch.float64)
    targets = (numbers * 16).floor() % 2
    edges = np.linspace(0, 1, BINS + 1).tolist()
    values, rows = features_of({"median": 0.5, "spread": 0.5, "edges": edges})(
        two_floats(numbers[:, None]), torch.empty(512, 0, dtype=torch.int64)
    )
    errors = {}
    for embedding in EMBEDDINGS:
        torch.manual_seed(0)
        network = NETWORKS[name](1, [], 1, number_embedding=embedding, sigma=3.0).eval()
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.003)
        for _ in range(120):
            loss = torch.nn.functional.mse_loss(network(values, rows)[:, 0], targets.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        errors[embedding] = loss.item()
    assert 2 * max(errors["piecewise"], errors["periodic"]) < errors[None]


@pytest.mark.parametrize("edges", [[], [0.0] * (BINS + 2), [2.0, 1.0], [0.0, float("nan")], "none"])
def test_a_checkpoint_with_other_bins_is_refused_in_one_line(edges: Any, own_data: Path, command: Command) -> None:
    run = command.folder / "runs" / "binned"
    if not run.exists():
        words = ("name=binned", "datamodule=table", f"datamodule.root={own_data}", "callbacks=[default]")
        small = fitting(["model.network.width=32"])
        status, output = command("train.py", *words, *small, "trainer.max_epochs=1", "trainer.accelerator=cpu")
        assert status == 0, output
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    content["hyper_parameters"]["statistics"]["numbers"]["carat"]["edges"] = edges
    torch.save(content, run / "checkpoints" / "spoilt.ckpt")
    words = ("run=runs/binned", "checkpoint=runs/binned/checkpoints/spoilt.ckpt", f"input={own_data}", "output=no.csv")
    status, output = command("predict.py", *words)
    assert (status, output.strip().count("\n")) == (2, 0), output
    assert "statistics" in output
