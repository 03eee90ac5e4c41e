"""The rows of own_data.py for forecasting: series of a user, beside ridge regression, ETS and naive forecasts."""

import importlib
import json
import sys
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from own_common import Context, Score, nycflights, rendered, trained


class OwnSeries(NamedTuple):
    """Series in columns `time`, `value` and `series` of a frame, other columns, and options of the datamodule."""

    frame: pd.DataFrame
    options: list[str]


class Windows(NamedTuple):
    """The windows that the starter is tested on, at its own history and horizon.

    `values` (S, T) are all steps, `rows` (N,) and `starts` (N,) the series and the first target of each test window,
    `fitted` (2, M) the same of each window of training and validation; `season` is the shortest, in steps.
    """

    values: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    fitted: np.ndarray
    context: int
    horizon: int
    season: int

    def cut(self, rows: np.ndarray, starts: np.ndarray, before: int, after: int) -> np.ndarray:
        """Return the values (N, before + after) around the starts."""
        return self.values[rows[:, None], starts[:, None] + np.arange(-before, after)]

    @property
    def targets(self) -> np.ndarray:
        return self.cut(self.rows, self.starts, 0, self.horizon)


WEATHER = ["dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]


def temperatures(weather: bool) -> OwnSeries:
    """Hourly temperatures in °F at the three airports of New York in 2013; some hours are missing.

    With `weather`, dew point, humidity, wind, rain, pressure and visibility until the forecast begins.
    """
    frame = nycflights("weather.csv").rename(columns={"time_hour": "time", "origin": "series", "temp": "value"})
    options = ["datamodule.gaps=interpolate"]
    options += [f"datamodule.past_covariates=[{','.join(WEATHER)}]"] if weather else []
    return OwnSeries(frame[["time", "series", "value", *WEATHER]], options)


def departures(holidays: bool) -> OwnSeries:
    """Departures a day from each of the three airports of New York in 2013, and federal holidays, known ahead."""
    from pandas.tseries.holiday import USFederalHolidayCalendar

    flights = nycflights("flights.csv.zip").rename(columns={"origin": "series"})
    frame = flights.groupby(["year", "month", "day", "series"]).size().rename("value").reset_index()
    days = pd.to_datetime(frame[["year", "month", "day"]])
    holiday = USFederalHolidayCalendar().holidays("2012-12-25", "2014-01-05")
    frame["near"] = ""
    for word, shift in (("day before", -1), ("day after", 1), ("holiday", 0)):
        frame.loc[days.isin(holiday + pd.Timedelta(days=shift)), "near"] = word
    frame["time"] = days.dt.strftime("%Y-%m-%d")
    options = ["datamodule.future_covariates=[near]"] if holidays else []
    return OwnSeries(frame[["time", "series", "value", "near"]], options)


def forecast(context: Context, name: str, own: OwnSeries) -> tuple[list[np.ndarray], list[float], Windows]:
    """Train for each seed; return the medians (N, H), the coverage of the quantiles, and the windows."""
    project = rendered(context, "forecasting")
    path = context.folder / f"{name}.csv"
    own.frame.to_csv(path, index=False)
    words = ["datamodule=series", f"datamodule.root={path}", "datamodule.series=series", "callbacks=[default]"]
    runs = [trained(project, f"{name}_{seed}", [*words, *own.options, f"seed={seed}"]) for seed in context.seeds]
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    package: Any = importlib.import_module(f"package_{project.name}")
    medians, coverage = [], []
    for run in runs:
        model, data = package.load_run(run)
        data.setup("test")
        medians.append(median_forecasts(model, data))
        coverage.append(json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]["coverage"])
    values, facts = data.panel.values, data.facts
    places = {split: np.divmod(data.splits[split][0].numpy(), values.shape[1]) for split in ("train", "val", "test")}
    fitted = np.concatenate([np.stack(places["train"]), np.stack(places["val"])], 1)
    windows = Windows(values, *places["test"], fitted, facts["context"], facts["horizon"], min(facts["seasons"]))
    return medians, coverage, windows


def median_forecasts(model: Any, data: Any) -> np.ndarray:
    """Return the medians (N, H) of the test windows."""
    import torch

    model.eval()
    parts = []
    with torch.no_grad():
        for history, phases, _, _, offset, *covariates in data.test_dataloader():
            quantiles = model.predict_step((history, phases, offset, *covariates), 0)
            parts.append(quantiles[..., quantiles.shape[-1] // 2].double() + offset.double()[:, None])
    return torch.cat(parts).numpy()


def naive_of(windows: Windows, season: int) -> np.ndarray:
    """Repeat the last `season` steps before each test window: (N, H)."""
    before = windows.cut(windows.rows, windows.starts, season, 0)
    return np.tile(before, -(-windows.horizon // season))[:, : windows.horizon]


def ridge_on_lags(windows: Windows) -> np.ndarray:
    """Ridge regression (scikit-learn) of all leads on the starter's history: (N, H); one for all series.

    It is fitted to the windows of training and validation, which the starter's best checkpoint is chosen by.
    """
    from sklearn.linear_model import Ridge

    cut = windows.cut(*windows.fitted, windows.context, windows.horizon)
    model = Ridge().fit(cut[:, : windows.context], cut[:, windows.context :])
    return model.predict(windows.cut(windows.rows, windows.starts, windows.context, 0))


def ets(windows: Windows, chosen: np.ndarray, fitted_to: int = 336) -> np.ndarray:
    """ETS(A,Ad,A) of statsmodels, fitted anew to the steps before each chosen window: (n, H)."""
    import warnings

    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    parts = []
    for number in chosen:
        before = windows.cut(windows.rows[[number]], windows.starts[[number]], fitted_to, 0)[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = ETSModel(before, trend="add", damped_trend=True, seasonal="add", seasonal_periods=windows.season)
            parts.append(model.fit(disp=False).forecast(windows.horizon))
    return np.stack(parts)


def mean_absolute(forecasts: np.ndarray, targets: np.ndarray) -> float:
    return float(np.abs(forecasts - targets).mean())


def coverage_score(values: list[float]) -> Score:
    """Distance of the coverage from the nominal 0.8, beside no other tool."""
    return Score("coverage, distance from 0.8", [abs(value - 0.8) for value in values], {}, 0.05, False)


def hourly_temperature(context: Context, weather: bool = False) -> list[Score]:
    medians, coverage, windows = forecast(context, f"temperature_{weather}".lower(), temperatures(weather))
    targets = windows.targets
    ridge = ridge_on_lags(windows)
    others = {
        "ridge on lags": mean_absolute(ridge, targets),
        "persistence": mean_absolute(naive_of(windows, 1), targets),
        "day before": mean_absolute(naive_of(windows, windows.season), targets),
    }
    chosen = np.linspace(0, len(targets) - 1, 60).astype(int)
    some = targets[chosen]
    of_these = {"ETS": mean_absolute(ets(windows, chosen), some), "ridge on lags": mean_absolute(ridge[chosen], some)}
    values, of_some = ([mean_absolute(each[at], targets[at]) for each in medians] for at in (slice(None), chosen))
    return [
        Score("MAE", values, others, min(others.values()), False),
        Score("MAE, 60 windows", of_some, of_these, min(of_these.values()), False),
        coverage_score(coverage),
    ]


def daily_departures(context: Context, holidays: bool = False) -> list[Score]:
    medians, coverage, windows = forecast(context, f"departures_{holidays}".lower(), departures(holidays))
    targets = windows.targets
    others = {
        "seasonal naive": mean_absolute(naive_of(windows, windows.season), targets),
        "ridge on lags": mean_absolute(ridge_on_lags(windows), targets),
    }
    values = [mean_absolute(each, targets) for each in medians]
    return [Score("MAE", values, others, 20.5, False), coverage_score(coverage)]
