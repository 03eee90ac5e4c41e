"""Columns of a user's table: what is learnt from them, and what is refused in one line with file, row and column."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command, fitting
from torch.optim.swa_utils import AveragedModel

from {{ cookiecutter.package_name }} import load_run
from {{ cookiecutter.package_name }}.callbacks.averaging import warm_average
from {{ cookiecutter.package_name }}.datamodules.diamonds import DiamondsDataModule
from {{ cookiecutter.package_name }}.datamodules.table import TableDataModule
from {{ cookiecutter.package_name }}.datamodules.table_files import read_table, write_table
from {{ cookiecutter.package_name }}.engine.errors import RefusedError
from {{ cookiecutter.package_name }}.models.features import BINS, CategoryEmbedding, Features
from {{ cookiecutter.package_name }}.models.tabular import TabularModel


@pytest.fixture(scope="module")
def frame(own_data: Path) -> pd.DataFrame:
    return read_table(own_data)


def built(frame: pd.DataFrame, path: Path, **options: Any) -> TableDataModule:
    """Write `frame` to `path` and build its datamodule."""
    write_table(frame, path)
    data = TableDataModule(root=path, **options)
    data.setup("fit")
    return data


def test_the_diamonds_are_those_of_plotnine_each_once_with_what_nobody_measured_missing() -> None:
    data = DiamondsDataModule(target="price")
    data.setup("fit")
    sizes = {name: len(split[0]) for name, split in data.splits.items()}
    assert sizes == {"train": 37_655, "val": 5_380, "test": 10_759}
    assert data.facts["numbers"] == ["carat", "depth", "table", "x", "y", "z"]
    assert data.facts["categories"] == ["cut", "color", "clarity"]
    numbers = torch.cat([split[0] for split in data.splits.values()])
    numbers = numbers.double().sum(-1)
    assert numbers.isnan().sum(0).tolist() == [0, 0, 0, 7, 6, 19]
    assert (numbers != 0).all()


def test_statistics_are_those_of_the_training_rows_alone(frame: Any, tmp_path: Path) -> None:
    data = built(frame, tmp_path / "mine.csv")
    rows = data.ids["train"]
    carat = frame.loc[rows, "carat"].astype(float)
    learnt = data.facts["statistics"]
    assert learnt["numbers"]["carat"]["median"] == pytest.approx(carat.median())
    assert learnt["numbers"]["carat"]["spread"] == pytest.approx(carat.quantile(0.75) - carat.quantile(0.25))
    assert learnt["target"]["mean"] == pytest.approx(frame.loc[rows, "price"].astype(float).mean())
    assert sorted(learnt["categories"]["color"]) == list("DEFGHIJ")


def test_what_was_never_seen_is_taken_for_the_mean_of_its_column_and_what_is_missing_for_the_median(
    frame: Any, tmp_path: Path
) -> None:
    data = built(frame, tmp_path / "mine.csv", columns=["carat", "cut", "color"])
    features = Features(*data.chosen, data.statistics)
    median = data.facts["statistics"]["numbers"]["carat"]["median"]
    asked = {"cut": ["Ideal", "Divine", None], "color": ["J", "Ideal", "D"], "carat": [1e30, None, median]}
    write_table(pd.DataFrame(asked), tmp_path / "new.parquet")
    model = data.facts
    assert data.read_inputs(str(tmp_path / "new.parquet"), model) == []
    values, rows = features(*data.inputs)
    assert values[:, 0, :2].tolist() == [[pytest.approx(3), 0], [0, 1], [0, 0]]
    bins = len(data.facts["statistics"]["numbers"]["carat"]["edges"]) - 1
    assert values[0, 0, 2] == bins / BINS  # beyond the last
    embedding = CategoryEmbedding(features.category_sizes, dim=4)
    vectors = embedding(rows)
    of_cut, of_color = embedding.weight[:5], embedding.weight[5:]
    assert torch.equal(vectors[0, 0], of_cut[sorted(data.facts["statistics"]["categories"]["cut"]).index("Ideal")])
    assert torch.allclose(vectors[1], torch.stack([of_cut.mean(0), of_color.mean(0)]))
    assert torch.allclose(vectors[2, 0], of_cut.mean(0))  # no training row had a missing cut


def test_groups_are_never_divided(frame: Any, tmp_path: Path) -> None:
    data = built(frame, tmp_path / "mine.csv", groups="table", folds=3, fold=2)
    assert "table" not in data.facts["numbers"]
    groups = [set(frame.loc[rows, "table"]) for rows in data.ids.values()]
    assert all(groups)
    assert sum(map(len, groups)) == frame["table"].nunique()


def test_each_split_has_high_and_low_targets_or_each_class(frame: Any, tmp_path: Path) -> None:
    data = built(frame, tmp_path / "mine.csv")
    means = [split[2].mean() for split in data.splits.values()]
    assert max(means) < 1.1 * min(means)
    data = built(frame, tmp_path / "mine.csv", target="cut")
    shares = [torch.bincount(split[2], minlength=5) / len(split[2]) for split in data.splits.values()]
    assert torch.allclose(shares[0], shares[1], atol=0.02)
    assert data.facts["class_names"] == ["Fair", "Good", "Ideal", "Premium", "Very Good"]


def test_names_of_rows_and_constants_are_left_out(frame: Any, tmp_path: Path) -> None:
    names = frame.assign(id=[f"stone {row}" for row in frame.index], shop="ours")[["id", "shop", *frame.columns]]
    assert "id" not in built(names, tmp_path / "mine.csv").facts["categories"]
    assert "shop" not in built(names, tmp_path / "mine.csv").facts["categories"]
    assert "id" in built(names, tmp_path / "mine.csv", columns=["id", "carat"]).facts["categories"]


def test_categories_have_a_weight_decay_of_their_own(frame: Any, tmp_path: Path) -> None:
    network = {"_target_": "{{ cookiecutter.package_name }}.models.resnet.ResNet", "width": 8}
    optimizer = {"_target_": "torch.optim.AdamW", "lr": 0.01, "weight_decay": 0.5}
    data = built(frame, tmp_path / "mine.csv")
    model: Any = TabularModel(network, optimizer, **data.facts, category_decay=2.0)
    groups = model.parameter_groups()
    decays = {id(each): group.get("weight_decay") for group in groups for each in group["params"]}
    assert decays[id(model.network.categories.weight)] == 2.0
    assert decays[id(model.network.numbers.weight)] == 0.0
    assert decays[id(model.network.first.weight)] is None  # that of the optimizer
    assert decays[id(model.network.first.bias)] == 0.0
    assert decays.keys() == {id(each) for each in model.parameters()}


def spoilt(column: str, value: Any, row: int | None = 7) -> Any:
    """Set a value in one row, numbered as in a spreadsheet, or in all rows."""

    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[frame.index if row is None else row, column] = value
        return frame

    return spoil


REFUSED = {
    "no such target": (lambda frame: frame, {"target": "prise"}, "datamodule.target: .*'prise'; there are carat, cut"),
    "no such column": (lambda frame: frame, {"columns": ["carrat"]}, "datamodule.columns: .* did you mean carat"),
    "no such column to drop": (lambda frame: frame, {"drop": ["cuts"]}, "datamodule.drop: .* did you mean cut"),
    "a target that is dropped": (lambda frame: frame, {"drop": ["price"]}, "datamodule.drop=.*'price' is the target"),
    "no such group": (lambda frame: frame, {"groups": "shop"}, "datamodule.groups: .* has no column 'shop'"),
    "groups of the target": (lambda frame: frame, {"groups": "price"}, "datamodule.groups=price: is the target"),
    "it predicts itself": (lambda frame: frame, {"columns": ["price"]}, "'price' is the target"),
    "text in a number": (spoilt("carat", "big"), {}, "mine.csv, row 7, column 'carat': 'big' is not a finite number"),
    "an infinite number": (spoilt("x", "inf"), {}, "mine.csv, row 7, column 'x': 'inf' is not a finite number"),
    "no target": (spoilt("price", np.nan), {}, "mine.csv, row 7, column 'price': the target is missing"),
    "no class": (spoilt("cut", np.nan), {"target": "cut"}, "mine.csv, row 7, column 'cut': the target is missing"),
    "an infinite target": (spoilt("price", "inf"), {}, "mine.csv, row 7, column 'price': 'inf' is not a finite number"),
    "a constant target": (spoilt("price", "5", None), {}, "column 'price': the target is 5 in each row"),
    "one class": (spoilt("cut", "Good", None), {"target": "cut"}, "column 'cut': the target has 1 different values"),
    "a class of one": (spoilt("cut", "Odd"), {"target": "cut"}, "too few to be split: class 'Odd' has 1; expected"),
    "few rows": (lambda frame: frame.head(2), {}, "2 rows.* are too few to be split"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_bad_table_is_refused_in_one_line(kind: str, frame: Any, tmp_path: Path) -> None:
    spoil, options, message = REFUSED[kind]
    with pytest.raises(RefusedError, match=message) as error:
        built(spoil(frame.copy()), tmp_path / "mine.csv", **options)
    assert "\n" not in str(error.value)


def test_the_best_r2_is_the_highest_and_a_number_has_no_accuracy(
    command: Command, own_data: Path, tmp_path: Path
) -> None:
    words = ("datamodule=table", f"datamodule.root={own_data}", "callbacks=[default]", "trainer.accelerator=cpu")
    status, output = command("train.py", "name=none", *words, "monitor=val/accuracy")
    assert (status, len(output.strip().splitlines())) == (2, 1), output
    assert "monitor=val/accuracy: TabularModel logs train/loss, train/mae" in output
    assert not (command.folder / "runs" / "none").exists()
    status, output = command("train.py", "name=r2", *words, "monitor=val/r2", "trainer.max_epochs=3")
    assert status == 0, output
    scores = pd.read_csv(command.folder / "runs" / "r2" / "metrics.csv")["val/r2"].dropna()
    best = torch.load(command.folder / "runs" / "r2" / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == scores.reset_index(drop=True).idxmax()
    assert f"Best val/r2 {scores.max():.4f}" in output


def test_a_class_is_trained_tested_and_predicted(command: Command, own_data: Path, tmp_path: Path) -> None:
    status, output = command(
        "train.py", "name=cuts", "datamodule=table", f"datamodule.root={own_data}", "datamodule.target=cut",
        *fitting(["model.network.width=32"]), "trainer.max_epochs=8", "trainer.accelerator=cpu",
        "datamodule.batch_size=64",
    )  # fmt: skip
    assert status == 0, output
    assert all(name in output for name in ("val/accuracy", "val/macro_f1"))
    run = command.folder / "runs" / "cuts"
    of_classes = {"confusion_matrix", "roc", "precision_recall", "reliability"}
    assert {path.stem for path in (run / "plots").iterdir()} == {"learning_curves", "importance"} | of_classes
    asked = read_table(own_data).drop(columns="price").iloc[::2]
    write_table(asked, tmp_path / "new.csv")
    status, output = command("predict.py", "run=runs/cuts", f"input={tmp_path / 'new.csv'}", "output=out.parquet")
    assert (status, "no column 'price'" in output) == (2, True)
    write_table(asked.assign(price=np.nan), tmp_path / "new.csv")
    status, output = command("predict.py", "run=runs/cuts", f"input={tmp_path / 'new.csv'}", "output=out.csv")
    assert status == 0, output
    given = read_table(command.folder / "out.csv")
    pd.testing.assert_frame_equal(given[asked.columns].reset_index(drop=True), asked.reset_index(drop=True))
    shares = given.filter(like="probability_").astype(float)
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert (shares.idxmax(axis=1).str.removeprefix("probability_") == given["prediction"]).all()
    assert (given["prediction"] == given["cut"]).mean() > 0.5


def test_a_prediction_keeps_each_row_and_is_that_of_the_model(command: Command, own_data: Path) -> None:
    status, output = command(
        "train.py", "name=prices", *fitting(["model.network.width=32"]), "trainer.max_epochs=1",
        "trainer.limit_train_batches=5", "trainer.accelerator=cpu", "callbacks=[default]",
    )  # fmt: skip
    assert status == 0, output
    for words, message in (
        (("predict.py", f"input={own_data}", "output=x.txt"), "output=x.txt: expected a .csv, .tsv, .parquet file\n"),
        (("predict.py", f"input={own_data}", "datamodule.steps=20"), "DiamondsDataModule takes no steps; did you"),
        (("evaluate.py", "datamodule.groups=cut"), "datamodule.groups=cut: the run's own data keeps its split, "),
        (("train.py", "root=mine.csv"), "did you mean datamodule=table datamodule.root=mine.csv?"),
    ):
        status, output = command(*words, *(["run=runs/prices"] if words[0] != "train.py" else []))
        assert (status, message in output) == (2, True), output
    assert command("predict.py", "run=runs/prices", f"input={own_data}")[0] == 0
    run = command.folder / "runs" / "prices"
    before, given = own_data.read_text().splitlines(), (run / "predictions" / "mine.csv").read_text().splitlines()
    assert given[0] == f"{before[0]},prediction"
    assert [line.rpartition(",")[0] for line in given[1:]] == before[1:]
    loaded: Any = load_run(run)
    model, data = loaded
    data.read_inputs(str(own_data), model.hparams)
    expected = model(*data.inputs).detach().numpy()
    found = [float(line.rpartition(",")[2]) for line in given[1:]]
    assert found == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-4)


def test_averaged_weights_keep_the_codes_of_categories(command: Command, frame: Any, tmp_path: Path) -> None:
    """They are whole numbers of 63 bits: an average of them in float32 would be other codes."""
    write_table(frame, tmp_path / "mine.csv")
    status, output = command(
        "train.py", "name=averaged", "datamodule=table", f"datamodule.root={tmp_path / 'mine.csv'}",
        "trainer.max_epochs=2", "trainer.accelerator=cpu", "callbacks=[default,ema]",
    )  # fmt: skip
    assert status == 0, output
    model: Any = load_run(command.folder / "runs" / "averaged")[0]
    codes = [code for column in model.hparams["statistics"]["categories"].values() for code in column.values()]
    assert len(codes) > 10
    assert model.features.known.tolist() == sorted(codes)


def test_an_average_of_weights_forgets_the_first_steps_and_then_those_before_the_last_fifty() -> None:
    """By a plain average of decay 0.98, 45 % of the weights after 40 steps would be those of the first."""
    layer = torch.nn.Linear(1, 1)
    averaged: Any = AveragedModel(layer, avg_fn=warm_average(0.98))

    def take(value: float, steps: int) -> float:
        torch.nn.init.constant_(layer.weight, value)
        for _ in range(steps):
            averaged.update_parameters(layer)
        return averaged.module.weight.item()

    assert take(0.0, 1) == 0
    assert take(1.0, 40) > 0.999
    take(1.0, 1000)
    assert take(0.0, 50) == pytest.approx(0.98**50, rel=1e-4)
