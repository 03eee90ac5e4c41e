"""Runs that differ in their seed alone: mean, spread, and whether two groups of them can be told apart."""

import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RefusedError
from ..runs.folder import RunFolder
from ..runs.provenance import read_provenance
from .summaries import Summary, text

SAME = ("seedless_sha256", "data_sha256", "code_sha256", "packages")
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Group:
    """Finished runs of one config, code and data, one for each seed, in the order of the seeds."""

    label: str  # the overrides that the runs have in common, without those of all groups
    runs: list[Summary]
    data: str  # SHA-256 of the data

    @property
    def monitor(self) -> str:
        """The metric that selects the best checkpoint."""
        return self.runs[0].monitor

    def values(self, metric: str) -> dict[int, float]:
        """Return {seed: value} of a metric: that of `monitor`, or `test/…`."""
        pairs = [(run.seed, run.best if metric == run.monitor else run.test.get(metric.removeprefix("test/")))
                 for run in self.runs]  # fmt: skip
        return {int(seed): value for seed, value in pairs if seed is not None and value is not None}

    @property
    def metrics(self) -> list[str]:
        """The metrics that all runs have, without those of a part, such as one class."""
        names = [self.monitor, *(f"test/{name}" for name in self.runs[0].test if "/" not in name)]
        return [name for name in names if len(self.values(name)) == len(self.runs)]

    def content(self) -> dict[str, Any]:
        """Return the group as plain values, for --json and the report."""
        found = {name: self.values(name) for name in self.metrics}
        metrics = {name: dict(zip(("mean", "std"), mean_and_std(values), strict=True)) | {"seeds": values}
                   for name, values in found.items()}  # fmt: skip
        return {"overrides": self.label, "runs": [run.path for run in self.runs], "metrics": metrics}


def groups_of(runs: list[Summary]) -> list[Group]:
    """Return the groups of two or more seeds among finished runs; of two runs with the same seed the newest counts."""
    found: dict[str, dict[int, tuple[Summary, list[str], str]]] = {}
    for run in sorted(runs, key=lambda each: each.started):
        if run.state != "finished" or run.folds or run.seed is None:
            continue
        try:
            origin = read_provenance(RunFolder(Path(run.path)))
            setting = str([origin.get(key) for key in SAME])
        except (RefusedError, RecursionError):  # untrusted lists within lists
            continue
        words = origin.get("overrides") if isinstance(origin.get("overrides"), list) else []
        given = [text(word) for word in words if not str(word).lstrip("+").startswith(("name=", "seed="))]
        found.setdefault(setting, {})[run.seed] = (run, given, text(origin.get("data_sha256")))
    groups = [[by_seed[seed] for seed in sorted(by_seed)] for by_seed in found.values() if len(by_seed) > 1]
    labels = _labels([[words for _, words, _ in group] for group in groups])
    return [Group(label, [run for run, *_ in group], group[0][2]) for label, group in zip(labels, groups, strict=True)]


def _labels(overrides: list[list[list[str]]]) -> list[str]:
    """Return a label for each group, given the overrides of each of its runs: those that tell it from the others."""
    common = []
    for runs in overrides:
        typed = [words for words in runs if not any(word.startswith("rerun=") for word in words)] or runs
        common.append([word for word in typed[0] if all(word in words for words in typed)])
    shared = {word for word in common[0] if all(word in words for words in common)} if len(common) > 1 else set()
    named = (" ".join(word for word in words if word not in shared) for words in common)
    return [label or ("no other override" if shared else "the defaults") for label in named]


def mean_and_std(values: dict[int, float]) -> tuple[float, float]:
    """Return mean and standard deviation (of a sample, n - 1)."""
    return statistics.mean(values.values()), statistics.stdev(values.values())


@dataclass(frozen=True)
class Comparison:
    """The difference between the means of two groups, named by letters, with its confidence interval by a t-test.

    The interval is None if the groups do not vary, so that a t-test says nothing.
    """

    metric: str
    one: str
    other: str
    difference: float
    interval: tuple[float, float] | None
    test: str

    def __str__(self) -> str:
        start = f"{self.metric} {self.one} − {self.other}: {self.difference:+.4g}"
        if self.interval is None:
            return f"{start}; no spread to compare by"
        low, high = self.interval
        verdict = "a clear difference" if low > 0 or high < 0 else "too few seeds to tell them apart"
        return f"{start}, 95 % interval {low:+.4g} to {high:+.4g} ({self.test}): {verdict}"


def comparisons(groups: list[Group]) -> list[Comparison]:
    """Compare each group with the best one of those trained on the same data, in each test metric."""
    by_data: dict[str, list[tuple[str, Group]]] = {}
    for letter, group in labelled(groups):
        by_data.setdefault(group.data, []).append((letter, group))
    best_of = {data: _best(rivals) for data, rivals in by_data.items()}
    found = []
    for letter, group in labelled(groups):
        other, best = best_of[group.data]
        for name in group.metrics if group is not best else ():
            if name in best.metrics and name.startswith("test/"):
                found.append(_compared(name, (letter, group.values(name)), (other, best.values(name))))
    return found


def _best(groups: list[tuple[str, Group]]) -> tuple[str, Group]:
    """Return the group with the best mean of `monitor`; the first one if their monitors differ."""
    name = groups[0][1].monitor
    if any(group.monitor != name or name not in group.metrics for _, group in groups):
        return groups[0]
    choose = max if groups[0][1].runs[0].mode == "max" else min
    return choose(groups, key=lambda pair: statistics.mean(pair[1].values(name).values()))


def _compared(metric: str, one: tuple[str, dict[int, float]], other: tuple[str, dict[int, float]]) -> Comparison:
    """Compare the values of two groups by seed: paired if both have the same seeds, else by Welch's t-test (scipy).

    Source: Welch, "The generalization of Student's problem when several different population variances are involved",
    1947.
    """
    from scipy import stats

    a, b = list(one[1].values()), list(other[1].values())
    rounding = 1e-6 * max(map(abs, (*a, *b)))  # metrics are computed in float32
    result: Any = None
    if one[1].keys() == other[1].keys():
        test = f"paired t-test over {len(a)} seeds, scipy"
        if statistics.stdev(x - y for x, y in zip(a, b, strict=True)) > rounding:
            result = stats.ttest_rel(a, b)
    else:
        test = f"Welch's t-test of {len(a)} and {len(b)} seeds, scipy"
        if max(map(statistics.stdev, (a, b))) > rounding:
            result = stats.ttest_ind(a, b, equal_var=False)
    low, high = result.confidence_interval(CONFIDENCE) if result else (math.nan, math.nan)
    interval = (float(low), float(high)) if math.isfinite(low) and math.isfinite(high) else None
    return Comparison(metric, one[0], other[0], statistics.mean(a) - statistics.mean(b), interval, test)


def labelled(groups: list[Group]) -> list[tuple[str, Group]]:
    """Return the groups with a letter each, or a number after Z."""
    return [(chr(65 + number) if number < 26 else str(number + 1), group) for number, group in enumerate(groups)]
