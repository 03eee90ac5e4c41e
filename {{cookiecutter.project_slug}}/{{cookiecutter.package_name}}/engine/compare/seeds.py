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

    label: str  # the overrides that the runs have in common
    runs: list[Summary]

    def values(self, metric: str) -> dict[int, float]:
        """Return {seed: value} of a metric: that of `monitor`, or `test/…`."""
        pairs = [(run.seed, run.best if metric == run.monitor else run.test.get(metric.removeprefix("test/")))
                 for run in self.runs]  # fmt: skip
        return {int(seed): value for seed, value in pairs if seed is not None and value is not None}

    @property
    def metrics(self) -> list[str]:
        """The metrics that all runs have, without those of a part, such as one class."""
        names = [self.runs[0].monitor, *(f"test/{name}" for name in self.runs[0].test if "/" not in name)]
        return [name for name in names if len(self.values(name)) == len(self.runs)]

    def content(self) -> dict[str, Any]:
        """Return the group as plain values, for --json and the report."""
        found = {name: self.values(name) for name in self.metrics}
        metrics = {name: dict(zip(("mean", "std"), mean_and_std(values), strict=True)) | {"seeds": values}
                   for name, values in found.items()}  # fmt: skip
        return {"overrides": self.label, "runs": [run.path for run in self.runs], "metrics": metrics}


def groups_of(runs: list[Summary]) -> list[Group]:
    """Return the groups of two or more seeds among finished runs; of two runs with the same seed the newest counts."""
    found: dict[str, dict[int, tuple[Summary, list[str]]]] = {}
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
        found.setdefault(setting, {})[run.seed] = (run, given)
    groups = [[by_seed[seed] for seed in sorted(by_seed)] for by_seed in found.values() if len(by_seed) > 1]
    return [Group(" ".join(pairs[0][1]) or "the defaults", [run for run, _ in pairs]) for pairs in groups]


def mean_and_std(values: dict[int, float]) -> tuple[float, float]:
    """Return mean and standard deviation (of a sample, n - 1)."""
    return statistics.mean(values.values()), statistics.stdev(values.values())


@dataclass(frozen=True)
class Comparison:
    """The difference of the means of two groups, with its confidence interval by a t-test."""

    difference: float
    low: float
    high: float
    test: str

    def __str__(self) -> str:
        clear = self.low > 0 or self.high < 0
        verdict = "a clear difference" if clear else "too few seeds to tell them apart"
        return f"{self.difference:+.4g}, 95 % interval {self.low:+.4g} to {self.high:+.4g} ({self.test}): {verdict}"


def compared(one: dict[int, float], other: dict[int, float]) -> Comparison | None:
    """Compare the values of two groups by seed: paired if both have the same seeds, else by Welch's t-test (scipy).

    Source: Welch, "The generalization of Student's problem when several different population variances are involved",
    1947. None if a group does not vary, so that a t-test says nothing.
    """
    from scipy import stats

    a, b = list(one.values()), list(other.values())
    rounding = 1e-6 * max(map(abs, (*a, *b)))  # metrics are computed in float32
    if one.keys() == other.keys():
        gaps = [x - y for x, y in zip(a, b, strict=True)]
        if statistics.stdev(gaps) <= rounding:
            return None
        result: Any = stats.ttest_rel(a, b)
        test = f"paired t-test over {len(a)} seeds, scipy"
    else:
        if max(map(statistics.stdev, (a, b))) <= rounding:
            return None
        result = stats.ttest_ind(a, b, equal_var=False)
        test = f"Welch's t-test of {len(a)} and {len(b)} seeds, scipy"
    low, high = result.confidence_interval(CONFIDENCE)
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    return Comparison(statistics.mean(a) - statistics.mean(b), float(low), float(high), test)


def labelled(groups: list[Group]) -> list[tuple[str, Group]]:
    """Return the groups with a letter each, or a number after Z."""
    return [(chr(65 + number) if number < 26 else str(number + 1), group) for number, group in enumerate(groups)]


def verdicts(groups: list[Group]) -> list[str]:
    """Return a line for each test metric and group, on how it compares with the first group."""
    return [
        f"{name} {letter} − A: {compared(*values) or 'no spread to compare by'}"
        for letter, group in labelled(groups)[1:]
        for name in group.metrics
        if name in groups[0].metrics and name.startswith("test/")
        for values in [(group.values(name), groups[0].values(name))]
    ]
