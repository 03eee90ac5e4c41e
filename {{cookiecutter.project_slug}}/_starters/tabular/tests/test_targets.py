"""Several numbers to predict at once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command

from {{ cookiecutter.package_name }}.datamodules.diamonds import DiamondsDataModule
from {{ cookiecutter.package_name }}.datamodules.table import TableDataModule
from {{ cookiecutter.package_name }}.datamodules.table_files import read_table, write_table
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.models.targets import NumberTarget, metric_names


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 1,345 diamonds."""
    path = tmp_path_factory.mktemp("targets") / "mine.csv"
    write_table(DiamondsDataModule().load_table().frame.iloc[::40], path)
    return path


def built(path: Path, **options: Any) -> TableDataModule:
    data = TableDataModule(root=path, **options)
    data.setup("fit")
    return data


def test_several_targets_are_those_of_the_file(mine: Path) -> None:
    data, frame = built(mine, target=["carat", "price"]), read_table(mine)
    train = frame.loc[[*data.ids["train"]], ["carat", "price"]].astype(float)
    assert data.splits["train"][2].double().sum(-1).numpy() == pytest.approx(train.to_numpy(), rel=1e-12)
    assert data.statistics["target"]["mean"] == pytest.approx(train.mean().tolist())
    assert data.statistics["target"]["std"] == pytest.approx(train.std(ddof=0).tolist())
    assert not {"carat", "price"} & {*data.chosen.numbers, *data.chosen.categories}
    assert data.describe().startswith("carat, price (2 numbers) from 5 columns of numbers")


def test_a_list_of_one_target_is_that_target(mine: Path) -> None:
    one, listed = built(mine, target="price"), built(mine, target=["price"])
    assert listed.facts == one.facts
    assert listed.fingerprint() == one.fingerprint()


@pytest.mark.parametrize(
    ("options", "message"),
    {
        "a class": ({"target": ["price", "cut"]}, "'cut' is a class, and several targets must all be numbers; train a"),
        "twice": ({"target": ["price", "price"]}, "datamodule.target=.*: expected each column once"),
        "missing": ({"target": ["price", "carrat"]}, "'carrat'.*did you mean carat"),
        "of itself": ({"target": ["price", "x"], "columns": ["x"]}, "'x' is the target: it would predict itself"),
        "weights": ({"target": ["price", "x"], "weights": "x"}, "datamodule.weights=x: is the target"),
    }.values(),
)
def test_targets_that_do_not_fit_are_refused(mine: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        built(mine, **options)


def test_the_loss_of_several_targets_is_the_mean_of_their_own() -> None:
    """In any unit: a hundred times the number is the same loss."""
    random = torch.Generator().manual_seed(0)
    outputs, true = torch.randn(9, 2, generator=random), torch.randn(9, 2, generator=random, dtype=torch.float64)
    weights = torch.rand(9, generator=random)
    mean, std = [3.0, -200.0], [1.0, 100.0]
    several = NumberTarget(mean, std, names=["a", "b"])
    values = true * torch.tensor(std) + torch.tensor(mean)
    pairs = torch.stack([values.float(), (values - values.float().double()).float()], -1)
    for options in ((), (weights,)):
        own = []
        for k in range(2):
            one = NumberTarget(mean[k], std[k])
            own.append(float(one.loss(one.decode(outputs[:, k : k + 1]), pairs[:, k], *options)))
        assert float(several.loss(several.decode(outputs), pairs, *options)) == pytest.approx(sum(own) / 2, rel=1e-5)


def test_metrics_are_named_by_letters_that_any_logger_takes() -> None:
    assert metric_names(["CO(GT)", "price in $"]) == ["CO_GT", "price_in"]
    assert metric_names(["a b", "a-b"]) == ["1", "2"]
    assert metric_names(["€", "price"]) == ["1", "2"]


@pytest.fixture(scope="module")
def run(mine: Path, command: Command) -> Path:
    """The folder of a run with two targets."""
    status, output = command(
        "train.py", "name=several", "datamodule=table", f"datamodule.root={mine}", "datamodule.target=[price,carat]",
        "trainer.max_epochs=8", "trainer.accelerator=cpu", "callbacks.report.seconds=1",
    )  # fmt: skip
    assert status == 0, output
    return command.folder / "runs" / "several"


def test_several_targets_are_trained_evaluated_and_predicted(mine: Path, run: Path, command: Command) -> None:
    plots = {path.stem for path in (run / "plots").glob("*.png")}
    assert plots >= {f"{name}_{number}" for name in ("predicted_and_true", "residuals") for number in (1, 2)}
    assert "importance" in plots
    table = read_table(run / "predictions" / "test_split.csv")
    assert [*table.columns] == ["row", "target_price", "target_carat", "prediction_price", "prediction_carat"]
    assert len(table) == 269
    status, output = command("predict.py", "run=runs/several", f"input={mine}", "output=new.csv")
    assert status == 0, output
    predicted = read_table(command.folder / "new.csv").astype({"price": float, "carat": float})
    rows = TableDataModule(root=mine, target=["price", "carat"])
    rows.setup("test")
    tested = json.loads((run / "metrics.json").read_text())["test"]
    errors: list[np.ndarray] = []
    for name in ("price", "carat"):
        error = (predicted[f"prediction_{name}"].astype(float) - predicted[name]).loc[rows.ids["test"]]
        assert tested[f"rmse_{name}"] == pytest.approx(float((error**2).mean() ** 0.5), rel=1e-4)
        errors.append(error.to_numpy())
    scaled = np.stack(errors, 1) / np.array(rows.statistics["target"]["std"])
    assert tested["rmse"] == pytest.approx((scaled**2).mean() ** 0.5, rel=1e-4)
    assert tested["mae"] == pytest.approx(np.abs(scaled).mean(), rel=1e-4)
    assert tested["r2"] > 0.7
    status, output = command("evaluate.py", "run=runs/several", f"datamodule.root={mine}")
    assert status == 0, output


@pytest.mark.parametrize("target", ["price", ["price", "carat", "depth"]])
def test_a_checkpoint_with_statistics_of_other_targets_is_refused_in_one_line(
    target: str | list[str], mine: Path, run: Path, command: Command
) -> None:
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    content["hyper_parameters"]["target"] = target
    torch.save(content, run / "checkpoints" / "spoilt.ckpt")
    words = ("run=runs/several", "checkpoint=runs/several/checkpoints/spoilt.ckpt", f"input={mine}", "output=no.csv")
    status, output = command("predict.py", *words)
    assert (status, output.strip().count("\n")) == (2, 0), output
    assert "is not a checkpoint of TabularModel: its statistics are not those of the target" in output
