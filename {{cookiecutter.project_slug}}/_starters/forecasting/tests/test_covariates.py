"""Covariates: what determines the target is used, nothing of the future leaks, and wide tables hold the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import NO_LOGGER, Command, fitting
from starter import real_counts

from {{ cookiecutter.package_name }} import load_run
from {{ cookiecutter.package_name }}.datamodules.series import SeriesDataModule
from {{ cookiecutter.package_name }}.engine.errors import RefusedError

SIZES = {"context": 48, "horizon": 6, "seasons": [24]}
FUTURE = ["price", "holiday"]


def panel(hours: int = 900, ahead: int = 0) -> pd.DataFrame:
    """Two series that a price and a holiday determine, but for a little noise; the last `ahead` have no value."""
    random, parts = np.random.default_rng(0), []
    for place, level in (("north", 10.0), ("south", 30.0)):
        price = random.normal(size=hours).round(3)
        holiday = random.random(hours) < 0.1
        wind = random.normal(size=hours).round(3)
        value = level + 4 * price - 8 * holiday + random.normal(size=hours) / 10
        value[1:] += 3 * wind[:-1]
        frame = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=hours, freq="h"), "place": place})
        frame = frame.assign(value=value.round(3), price=price, wind=wind, holiday=np.where(holiday, "feast", ""))
        frame.loc[hours - ahead :, "value"] = None
        parts.append(frame.assign(size=level, region="cold" if place == "north" else "warm"))
    return pd.concat(parts, ignore_index=True)


def module(folder: Path, frame: pd.DataFrame, **options: Any) -> SeriesDataModule:
    frame.to_csv(folder / "mine.csv", index=False)
    arguments: dict[str, Any] = {"series": "place", **SIZES, **options}
    data = SeriesDataModule(folder / "mine.csv", **arguments)
    data.setup("fit")
    return data


def channels(data: Any) -> np.ndarray:
    return data.covariates.numpy()


ALL = {"future_covariates": FUTURE, "past_covariates": ["wind"], "static_covariates": ["size", "region"]}


def test_channels_are_standardised_by_the_training_steps_and_categories_are_one_each(tmp_path: Path) -> None:
    frame = panel()
    data = module(tmp_path, frame, **ALL)
    covariates = data.dataset("train")[torch.arange(len(data.splits["train"][0]))][5]
    assert covariates.shape[1:] == (54, 1 + 1 + 2 + 1 + 2)  # wind, price, holiday or not, size, two regions
    _, price, no, feast, _, cold, warm = covariates.flatten(0, 1).T
    assert (float(price.mean()), float(price.std())) == pytest.approx((0, 1), abs=0.1)
    assert torch.equal(no + feast, torch.ones_like(no))
    assert torch.equal(cold + warm, torch.ones_like(no))
    assert 0.05 < feast.mean() < 0.15
    train = frame.groupby("place").head(630)
    learnt = {one["name"]: one for one in data.facts["covariates"]}
    assert learnt["price"]["mean"] == pytest.approx(train["price"].mean())
    assert learnt["wind"]["deviation"] == pytest.approx(train["wind"].std(ddof=0))
    assert (learnt["holiday"]["categories"], learnt["region"]["categories"]) == (["", "feast"], ["cold", "warm"])


@pytest.mark.parametrize("value", [0.1, 3.2, 1e5 / 3])
def test_a_covariate_that_the_training_holds_constant_is_not_divided_by_rounding(value: float, tmp_path: Path) -> None:
    frame = panel().assign(price=value)
    frame.loc[frame.groupby("place").cumcount() >= 800, "price"] = value + 1
    data = module(tmp_path, frame, future_covariates=["price"])
    assert data.facts["covariates"][0]["deviation"] == 1
    assert np.abs(channels(data)).max() == pytest.approx(1)


def test_no_later_value_of_a_past_covariate_is_in_a_window(tmp_path: Path) -> None:
    frame = panel()
    data = module(tmp_path, frame, **ALL)
    place = torch.tensor([30])
    start = int(data.splits["test"][0][30]) % 900
    before = data.dataset("test")[place]
    later = frame.assign(wind=frame["wind"].where(frame.groupby("place").cumcount() < start, 99.0))
    for old, new in zip(before, module(tmp_path, later, **ALL).dataset("test")[place], strict=True):
        assert torch.equal(old, new)
    sooner = frame.assign(wind=frame["wind"].where(frame.groupby("place").cumcount() != start - 1, 99.0))
    assert not torch.equal(before[5], module(tmp_path, sooner, **ALL).dataset("test")[place][5])
    ahead = frame.assign(price=frame["price"].where(frame.groupby("place").cumcount() != start, 99.0))
    assert not torch.equal(before[5], module(tmp_path, ahead, **ALL).dataset("test")[place][5])


def test_a_missing_covariate_repeats_the_last_one(tmp_path: Path) -> None:
    frame = panel()
    row = 300
    holed = frame.assign(price=frame["price"].where(frame.index != row))
    filled = frame.assign(price=frame["price"].where(frame.index != row, frame["price"][row - 1]))
    one, other = (channels(module(tmp_path, each, **ALL)) for each in (holed, filled))
    assert one == pytest.approx(other, abs=1e-2)


def test_no_value_that_was_interpolated_with_a_target_ends_a_history(tmp_path: Path) -> None:
    rows = real_counts(60).drop(index=[700, 701])
    data = module(tmp_path, rows, series=None, gaps="interpolate")
    starts = data.splits["train"][0].numpy()
    assert {700, 703} <= {*starts}
    assert not {701, 702} & {*starts}


@pytest.mark.parametrize(("split", "begin", "parts"), [("train", 1440 - 2 * 216, 3), ("val", 1440 - 216, 4)])
def test_no_target_was_interpolated_with_a_value_of_the_next_split(
    split: str, begin: int, parts: int, tmp_path: Path
) -> None:
    """The scale, the fourth part, is of all values before the test."""
    rows = real_counts(60)
    batches = []
    for value in (0.0, 500.0):
        changed = rows.assign(value=rows["value"].where(rows.index != begin + 2, value))
        holed = changed.drop(index=range(begin - 3, begin + 2))
        data = module(tmp_path, holed, series=None, gaps="interpolate")
        batches.append(data.dataset(split)[torch.arange(len(data.splits[split][0]))][:parts])
    assert data.splits[split][0].max() == begin - 3 - SIZES["horizon"]
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one, other)


def test_a_wide_table_holds_the_same_as_a_long_one(tmp_path: Path) -> None:
    frame = panel(ahead=6)
    future = frame[frame["place"] == "north"][["time", "price", "holiday"]]  # in a wide table they are of all series
    frame = frame[["time", "place", "value"]].merge(future, on="time").sort_values(["place", "time"])
    long = module(tmp_path, frame, future_covariates=FUTURE)
    pivoted = frame.pivot(index="time", columns="place", values="value").reset_index().merge(future, on="time")
    wide = module(tmp_path, pivoted, series=None, wide=True, future_covariates=FUTURE)
    assert long.panel.names == wide.panel.names == ["north", "south"]
    assert long.panel.values.shape == (2, 894)
    for one, other in zip(long.dataset("val")[torch.arange(9)], wide.dataset("val")[torch.arange(9)], strict=True):
        assert torch.equal(one, other)


def test_series_of_a_wide_table_may_begin_and_end_at_different_times(tmp_path: Path) -> None:
    wide = panel().pivot(index="time", columns="place", values="value").reset_index()
    wide.loc[:99, "north"] = None
    data = module(tmp_path, wide, series=None, wide=True)
    assert np.isnan(data.panel.values[0]).sum() == 100
    wide.loc[200, "north"] = None
    with pytest.raises(RefusedError, match=r"row 202, column 'north': no value is there; datamodule\.gaps=interpolate"):
        module(tmp_path, wide, series=None, wide=True)


REFUSED = {
    "changing": ({"static_covariates": ["wind"]}, "datamodule.static_covariates=wind: changes within a series"),
    "no column": ({"future_covariates": ["prize"]}, "has no column 'prize'"),
    "twice": ({"future_covariates": ["wind"], "past_covariates": ["wind"]}, "is also in past_covariates"),
    "the value": ({"past_covariates": ["value"]}, "datamodule.past_covariates=value: is also the column of values"),
    "wide with series": ({"wide": True}, "datamodule.series=place: is of a long table"),
    "wide with static": ({"wide": True, "series": None, "static_covariates": ["size"]}, "is of a long table"),
    "names": ({"past_covariates": ["name"]}, "has 900 categories; expected at most 64"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_covariates_that_can_t_be_used_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    options, message = REFUSED[kind]
    frame = panel(1200).assign(name=lambda each: "n" + (each.index % 900).astype(str))
    with pytest.raises(RefusedError) as refused:
        module(tmp_path, frame, **options)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def run(command: Command) -> Path:
    path = command.folder / "covariates.csv"
    panel().to_csv(path, index=False)
    words = [f"datamodule.{key}=[{','.join(names)}]" for key, names in ALL.items()]
    sizes = [f"datamodule.{key}={value}" for key, value in SIZES.items()]
    status, output = command(
        "train.py", "name=covariates", "datamodule=series", f"datamodule.root={path}", "datamodule.series=place",
        "trainer.max_epochs=2", "trainer.accelerator=cpu", "callbacks=[default]", *words, *sizes, *NO_LOGGER,
        *fitting(["model.network.width=16"]),
    )  # fmt: skip
    assert status == 0, output
    return command.folder / "runs" / "covariates"


def loaded(run: Path) -> tuple[Any, Any]:
    """Model and datamodule of a run, set up."""
    model, data = load_run(run)
    data.setup("fit")
    return model, data


def test_a_covariate_that_determines_the_target_is_used(run: Path) -> None:
    """Without the price and the holiday an error above 4 is left at each lead; the wind of the steps ahead is 2.4."""
    model, data = loaded(run)
    history, phases, target, _, offset, covariates = next(data.some_windows("test"))
    with torch.no_grad():
        error = (model(history, phases, offset, covariates)[..., 4] - target).abs().mean(0)
    assert error[0] < 1.2
    assert (error[1:] < 2.9).all()  # 2.4 of the wind


def test_the_network_alone_uses_it_too(run: Path) -> None:
    model, data = loaded(run)
    history, phases, target, scale, _, covariates = next(data.some_windows("train"))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    model.train()
    for _ in range(150):
        optimizer.zero_grad()
        model.loss(model(history, phases, None, covariates), target, scale).backward()
        optimizer.step()
    model.eval().share.fill_(1)
    history, phases, target, _, offset, covariates = next(data.some_windows("test"))
    error = (model(history, phases, offset, covariates)[..., 4] - target).abs().mean(0)
    assert (error[1:] < 3.4).all()


def test_future_covariates_are_read_from_rows_without_a_value(run: Path, command: Command) -> None:
    panel(400, ahead=6).to_csv(command.folder / "next.csv", index=False)
    status, output = command("predict.py", "run=runs/covariates", "input=next.csv")
    assert status == 0, output
    made = pd.read_csv(run / "predictions" / "next_forecast.csv")
    truth = panel(400).groupby("place").tail(6)
    assert made["time"].tolist() == [str(each) for each in truth["time"]]
    assert (made["q0.5"] - truth["value"].to_numpy()).abs().mean() < 3.2
    changed = panel(400, ahead=6).assign(price=lambda each: each["price"].where(each["value"].notna(), 5.0))
    changed.to_csv(command.folder / "dear.csv", index=False)
    assert command("predict.py", "run=runs/covariates", "input=dear.csv")[0] == 0
    dear = pd.read_csv(run / "predictions" / "dear_forecast.csv")
    assert (dear["q0.5"] - made["q0.5"]).median() > 8


def test_steps_ahead_without_a_future_covariate_are_named(run: Path, command: Command) -> None:
    panel(400, ahead=4).to_csv(command.folder / "short.csv", index=False)
    status, output = command("predict.py", "run=runs/covariates", "input=short.csv")
    assert status == 2
    assert output == (
        "input=short.csv: series 'north' has no 'price' for 2024-01-17 16:00; "
        "expected 6 rows after its last value, with 'value' empty\n"
    )
