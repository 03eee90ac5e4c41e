"""Base class for datamodules of series: windows, splits by time, and input and output of predict.py.

To use your own series, give a file (series.py), or subclass WindowsDataModule and write `load_panel` (auckland.py).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import pandas as pd
import torch
from pydantic import PositiveInt
from torch import Tensor

from ..engine import Above0Below1, From0Below1, Length, RefusedError, log, refusal
from ..engine.order import TensorBatches, sha256_of
from .base import TensorDataModule
from .covariates import Covariate, channel_kinds, channels, cut_covariates, learn
from .panel import BLOCK_STEPS, SPLITS, Columns, Gaps, Panel, block_keys, check_columns, longest_run, read_panel
from .scales import centred, check_precision, rounded, seasonal_error
from .seasons import naive_anchor, seen_seasons
from .splits import check_split, split_in_time
from .table_files import read_table, write_table
from .times import zone_difference

CYCLES = 14  # of the shortest season, in a history of default length: two weeks of hours
MAX_WINDOWS = 20_000  # that the linear part of a model is fitted to
MAX_CELLS = 2**23  # values of these windows, and of a batch of them with its covariates: 64 MB


class SeriesFacts(TypedDict):
    """The data's properties that are passed to the model."""

    context: int  # steps of history
    horizon: int  # steps to forecast
    seasons: list[int]  # season lengths in steps
    step: str  # as pandas writes a frequency
    least: float | None  # lower bound of the values
    zoned: bool  # times state their zone; seasons then begin as in UTC
    anchor: int | None  # season of the naive forecast that the model starts from; 1: the last value
    damping: float  # of the last value's difference from a season before; see seasons.py
    covariates: list[Covariate]


class Choice(NamedTuple):
    """Sizes, seasons and naive forecast, as the options give them or the training steps suggest."""

    context: int
    horizon: int
    seasons: list[int]
    anchor: int | None
    damping: float


class Windows(TensorBatches):
    """Windows of a panel, cut a whole batch at a time.

    A batch is `(history (B, C), phases (B, M), target (B, H), scale (B,), offset (B,))`. `phases` are the positions,
    from 0 to 1, of the first target in each season; `scale` is the seasonal-naive error of the series. `offset`, close
    to the mean of the history, is subtracted from history and target in float64; see `centred`. `places` (N,) are the
    indices of the first targets in the flattened panel. With `covariates` (V, S, T) a batch has a sixth part, theirs
    (B, C + H, V), in which past ones end with the history.
    """

    def __init__(
        self, places: Tensor, panel: Panel, scale: np.ndarray, facts: SeriesFacts, covariates: Tensor | None
    ) -> None:
        super().__init__(places)
        self.values, self.scale = torch.from_numpy(panel.values).flatten(), torch.from_numpy(scale)
        self.length, self.first, self.context = panel.values.shape[1], panel.first, facts["context"]
        self.seasons = facts["seasons"]
        self.window = torch.arange(-facts["context"], facts["horizon"])
        self.covariates, self.kinds = covariates, channel_kinds(facts["covariates"])

    def __getitem__(self, index: Tensor) -> tuple[Tensor, ...]:
        (places,) = super().__getitem__(index)
        values, offset = centred(self.values[places[:, None] + self.window], self.context)
        phases = phase(places % self.length + self.first, self.seasons)
        scale = self.scale[places // self.length]
        parts = values[:, : self.context], phases, values[:, self.context :], scale, offset
        if self.covariates is None:
            return parts
        series, starts = places // self.length, places % self.length
        return *parts, cut_covariates(self.covariates, self.kinds, series, starts, self.window)


class WindowsDataModule(TensorDataModule):
    """Windows of series in memory, split by time: training data ends before validation, validation before the test.

    A window has `context` steps of history and `horizon` steps of target; None means 14 of the shortest season, if the
    training is four times as long, or else two of the longest; and one of the shortest. `seasons` are lengths in steps;
    None means a day and a week, or a year, depending on the step, less a week that the training does not show. `least`
    is a lower bound of the values, such as 0 for counts. Training windows begin `stride` steps apart, others
    `eval_stride`. `gaps` says what happens to a missing step or value: it is refused, interpolated linearly, or the
    windows that contain it are skipped. Columns of `past_covariates` are known until a forecast begins, those of
    `future_covariates` also for its steps; `static_covariates` belong to a series. `split` names the
    split of each row. `time`, `value`, `series`, `wide` and `time_format` describe files; see panel.py.
    """

    sample_name = "windows"
    seen_as = "overlap"
    input_example = "<a CSV or Parquet file of history>"
    output_suffixes = ".csv .tsv .parquet"  # that predict.py can write

    def __init__(
        self,
        context: Length | None = None,
        horizon: Length | None = None,
        seasons: list[Length] | None = None,
        least: float | None = None,
        stride: PositiveInt = 1,
        eval_stride: PositiveInt = 1,
        time: str = "time",
        value: str = "value",
        series: str | None = None,
        time_format: str | None = None,
        gaps: Gaps = "refuse",
        wide: bool = False,
        split: str | None = None,
        past_covariates: list[str] | None = None,
        future_covariates: list[str] | None = None,
        static_covariates: list[str] | None = None,
        val_fraction: Above0Below1 = 0.15,
        test_fraction: From0Below1 = 0.15,
        folds: PositiveInt | None = None,
        fold: PositiveInt | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_split(val_fraction, test_fraction, folds, fold)
        self.val_fraction, self.test_fraction, self.folds, self.fold = val_fraction, test_fraction, folds, fold
        self.context, self.horizon, self.seasons, self.least = context, horizon, seasons, least
        self.stride, self.eval_stride, self.gaps = stride, eval_stride, gaps
        self.chosen = Choice(0, 0, [], 1, 0.0)
        kinds = {"past": past_covariates, "future": future_covariates, "static": static_covariates}
        covariates = {kind: names or [] for kind, names in kinds.items()}
        self.columns = Columns(time, value, series, time_format, wide, split, covariates)
        check_columns(self.columns)
        self.own = range(0)  # columns of the training file
        self.ends: np.ndarray | None = None  # columns (S,) at which what a test file adds begins
        self.learnt: list[Covariate] = []  # the covariates, as the training has them
        self.unit = value  # axis label in plots
        self.to_forecast: list[tuple[int, int]] = []  # for predict.py: row of a series in the panel, first step number

    def load_panel(self) -> Panel:
        """Load all series. Raises RefusedError if they can't be read."""
        raise NotImplementedError(f"{type(self).__name__} must define load_panel()")

    def load_test(self, own: Panel) -> tuple[Panel, range, np.ndarray] | None:
        """Load series that test, joined to `own`; see joined.py. None: the end of `own` tests."""
        return None

    def load_splits(self) -> dict[str, tuple[Tensor, ...]]:
        self.panel = self.load_panel()
        if (zoned := self.panel.clock.zoned) != self.trained.get("zoned", zoned):
            raise RefusedError(f"datamodule: {zone_difference(zoned)}; expected times written like those")
        self.own = range(self.panel.values.shape[1])
        if (joined := self.load_test(self.panel)) is not None:
            self.panel, self.own, self.ends = joined
        if self.least is not None and (lowest := np.nanmin(self.panel.values)) < self.least:
            raise refusal("datamodule.least", self.least, f"a value is {lowest:g}")
        parts = self._parts()
        self.trained_until, end = parts[1].stop, parts[0].stop or self.own.stop
        self.chosen = self._choose(self._before(end, self.panel.values))
        raws = [raw._replace(values=self._before(end, raw.values)) for raw in self.panel.covariates]
        self.learnt = self.trained.get("covariates") or learn(raws)
        self.covariates = torch.from_numpy(channels(self.panel.covariates, self.learnt)) if self.learnt else None
        self.scale = seasonal_error(self.panel._replace(values=self._before_test(parts[2])), self.facts["seasons"])
        check_precision(self.panel, self.scale)
        strides = (self.stride, self.eval_stride, self.eval_stride)
        each = zip(SPLITS, parts, strides, strict=True)
        return {name: (self._places(name, part, stride),) for name, part, stride in each}

    def _parts(self) -> tuple[range, range, range]:
        """Return the columns of train, val and test. With folds, those before the test that is given are cut."""
        length, start, bounds = len(self.own), self.own.start, self.panel.bounds
        options = {"folds": self.folds, "fold": self.fold}
        if bounds is None and self.ends is None:
            if self.test_fraction == 0:
                why = "no step would test; expected a fraction, datamodule.split=<column> or datamodule.test=<file>"
                raise refusal("datamodule.test_fraction", self.test_fraction, why)
            return split_in_time(length, self.val_fraction, self.test_fraction, **options)
        begin_val, begin_test = (min(bound, length) for bound in bounds or (length, length))
        train, val = range(begin_val), range(begin_val, begin_test)
        if bounds is None or self.folds is not None:
            train, val, _ = split_in_time(begin_test, self.val_fraction, 0.0, **options)
        train, val = (range(start + part.start, start + part.stop) for part in (train, val))
        return train, val, range(begin_test if self.ends is None else 0, self.panel.values.shape[1])

    def _before(self, end: int, values: np.ndarray) -> np.ndarray:
        """Return the training file's `values` (S, T) before column `end`; NaN where interpolated with later ones."""
        ends = self._ends(end) if self.ends is None else np.minimum(self._ends(end), self.ends)
        columns = np.arange(self.own.start, end)
        own = values[:, self.own.start : end]
        known = columns < ends[:, None]
        return own if known.all() else np.where(known, own, np.nan)

    def _before_test(self, test: range) -> np.ndarray:
        """Return the values (S, T) before the test; all of a series that is only tested."""
        if self.ends is None:  # in evaluation on other series, nothing comes before it
            return self._before(test.start or self.own.stop, self.panel.values)
        length = self.panel.values.shape[1]
        ends = np.where(self.ends > 0, self.ends, length)
        return np.where(np.arange(length) < ends[:, None], self.panel.values, np.nan)

    def _ends(self, end: int) -> np.ndarray:
        """Return the columns (S,) at which values before column `end` stop to be free of later ones."""
        if self.panel.filled is None or not end:
            return np.full(len(self.panel.values), end)
        return end - (~self.panel.filled[:, :end][:, ::-1]).argmax(1)

    def _choose(self, values: np.ndarray) -> Choice:
        """Choose what the options leave open: as the model has it, or from the training's values (S, T) alone."""
        known, calendar = self.trained, self.panel.step.seasons
        seasons = sorted(self.seasons or known.get("seasons") or seen_seasons(values, calendar))
        if gone := [season for season in calendar if season not in seasons and not self.seasons]:
            log.info(f"No season of {gone[0]} steps in the training; datamodule.seasons={calendar} assumes it")
        cycles = min(CYCLES, values.shape[1] // 4 // seasons[0])
        context = self.context or known.get("context") or max(2 * seasons[-1], cycles * seasons[0], 16)
        horizon = self.horizon or known.get("horizon") or (seasons[0] if seasons[0] > 1 else 8)
        if known:
            return Choice(context, horizon, seasons, known.get("anchor"), known.get("damping", 0.0))
        return Choice(context, horizon, seasons, *naive_anchor(values, seasons, context, horizon))

    def _places(self, name: str, part: range, stride: int) -> Tensor:
        """Return the indices (n,), in the flattened panel, of the first targets of all gapless windows in `part`."""
        context, horizon = self.facts["context"], self.facts["horizon"]
        series, length = self.panel.values.shape
        starts = np.arange(max(part.start, context), part.stop - horizon + 1, stride)
        missing = np.isnan(self.panel.values).cumsum(1)
        missing = np.pad(missing, ((0, 0), (1, 0)))
        whole = missing[:, starts + horizon] == missing[:, starts - context]
        if self.panel.filled is not None:  # a value that was interpolated with a later one would give it away
            whole &= ~self.panel.filled[:, starts - 1] & (starts + horizon <= self._ends(part.stop)[:, None])
        if self.ends is not None:
            ends = self.ends[:, None]
            whole &= starts >= ends if name == "test" else starts + horizon <= ends
        places = (np.arange(series)[:, None] * length + starts)[whole]
        if not len(places) and len(part):
            fold = "" if self.fold is None else f" of fold {self.fold}"
            steps = f"{len(part)} steps" if name != "test" or self.ends is None else "the steps that its file adds"
            window = f"{name}{fold} ({steps}) has no whole window of context={context} and horizon={horizon}"
            if len(starts) and missing.any():
                why = f"no run of steps without a gap is longer than {longest_run(self.panel.values)}"
                raise refusal("datamodule.gaps", self.gaps, f"{window}: {why}; expected interpolate, or shorter ones")
            fix = "expected more steps, or a shorter datamodule.context= or horizon="
            if self.context is None and len(seasons := self.facts["seasons"]) > 1:
                fix += f", as datamodule.seasons=[{min(seasons)}] makes them"
            raise RefusedError(f"datamodule: {length} steps are too short: {window}; {fix}")
        return torch.from_numpy(places)

    @property
    def facts(self) -> SeriesFacts:
        """Properties of the data that are passed to the model as arguments."""
        return {
            "context": self.chosen.context,
            "horizon": self.chosen.horizon,
            "seasons": self.chosen.seasons,
            "step": self.panel.step.name,
            "least": self.least,
            "zoned": self.panel.clock.zoned,
            "anchor": self.chosen.anchor,
            "damping": self.chosen.damping,
            "covariates": self.learnt,
        }

    def describe(self) -> str:
        """Summarise the data in one line for the log."""
        series, length = self.panel.values.shape
        step, seasons = self.panel.step.name, " and ".join(map(str, self.facts["seasons"]))
        return f"{series} series of {length:,} steps ({step}, seasons of {seasons}), windows: {self.split_sizes()}"

    def trained_on(self) -> np.ndarray:
        """Return hashes of times and values up to the end of validation."""
        values, first = self._before(self.trained_until, self.panel.values), self.panel.first + self.own.start
        keys, distinctive = block_keys(self.panel._replace(values=values, first=first))
        return keys[distinctive]

    def is_seen(self, keys: np.ndarray) -> np.ndarray:
        """Return True for each test window (N,) whose target overlaps a block of the training data."""
        blocks, distinctive = block_keys(self.panel)
        steps = np.repeat(np.isin(blocks, keys) & distinctive, BLOCK_STEPS, axis=1)[:, self.panel.first % BLOCK_STEPS :]
        before = np.pad(steps.cumsum(1), ((0, 0), (1, 0)))
        series, starts = np.divmod(self.splits["test"][0].numpy(), self.panel.values.shape[1])
        return before[series, starts + self.facts["horizon"]] > before[series, starts]

    def dataset(self, split: str) -> Windows:
        return Windows(self.splits[split][0], self.panel, self.scale, self.facts, self.covariates)

    def some_windows(self, split: str) -> Iterator[tuple[Tensor, ...]]:
        """Yield batches of at most MAX_WINDOWS windows of a split in all, evenly spaced, and fewer if they are long."""
        count, window = len(self.splits[split][0]), self.facts["context"] + self.facts["horizon"]
        most = min(MAX_WINDOWS, max(100, MAX_CELLS // window))
        channels = 1 if self.covariates is None else 1 + len(self.covariates)
        data = self.dataset(split)
        for index in torch.arange(0, count, -(-count // most)).split(max(1, MAX_CELLS // (window * channels))):
            yield data[index]

    def fingerprint(self) -> str:
        """Return the SHA-256 of all data used, and of the splits."""
        values = torch.from_numpy(np.nan_to_num(self.panel.values, nan=np.inf))
        covariates = [] if self.covariates is None else [self.covariates]
        return sha256_of([values, *covariates, *(places for (places,) in self.splits.values())])

    def sample_ids(self, split: str, index: Tensor) -> list[str]:
        """Return the series name and the time of the first target of each window."""
        places = self.splits[split][0][index].numpy()
        series, starts = np.divmod(places, self.panel.values.shape[1])
        times = self.panel.step.times(starts + self.panel.first)
        return [self.panel.label(row, time) for row, time in zip(series, times, strict=True)]

    def window_times(self, split: str, number: int) -> pd.DatetimeIndex:
        """Return the local times of history and target of one window (C + H,)."""
        row, start = divmod(int(self.splits[split][0][number]), self.panel.values.shape[1])
        numbers = start + self.panel.first + np.arange(-self.facts["context"], self.facts["horizon"])
        return self.panel.clock.here(self.panel.step.times(numbers), row)

    def window_series(self, split: str, number: int) -> str:
        """Return the series name of one window."""
        return self.panel.names[int(self.splits[split][0][number]) // self.panel.values.shape[1]]

    # Input and output of predict.py

    def read_inputs(self, source: str, hparams: Mapping[str, Any]) -> list[str]:
        """Read the series in the file `source`, to forecast each from its last value.

        Returns one line for each series that is too short. Raises RefusedError if none can be forecast.
        """
        path = Path(source)
        self.panel = panel = read_panel(read_table(path, key="input"), self.columns, path, self.gaps, ahead=True)
        if panel.step.name != hparams["step"]:
            raise refusal("input", source, f"its step is {panel.step.name}; the model was trained on {hparams['step']}")
        check_precision(panel, None, "input")
        histories, ends, problems = [], [], []
        for number, (name, row) in enumerate(zip(panel.names, panel.values, strict=True)):
            end = int(np.flatnonzero(~np.isnan(row))[-1]) + 1 if not np.isnan(row).all() else 0
            history = row[max(0, end - hparams["context"]) : end]
            if len(history) < hparams["context"] or np.isnan(history).any():
                whole = end - int(np.flatnonzero(np.isnan(np.append(np.nan, row[:end])))[-1])
                problems.append(f"series {name!r} ends with {whole} steps without a gap; expected {hparams['context']}")
                continue
            if missing := self._lacks_ahead(panel, number, end, hparams["horizon"]):
                problems.append(f"series {name!r} {missing}")
                continue
            histories.append(history)
            ends.append(end + panel.first)
            self.to_forecast.append((number, end + panel.first))
        if not histories:
            raise refusal("input", source, problems[0])
        history, offset = centred(torch.from_numpy(np.stack(histories)), hparams["context"])
        self.inputs = (history, phase(torch.tensor(ends), hparams["seasons"]), offset)
        if known := hparams.get("covariates"):
            padding = ((0, 0), (0, 0), (0, hparams["horizon"]))  # where there are past covariates alone
            every = torch.from_numpy(np.pad(channels(panel.covariates, known), padding))
            rows, starts = torch.tensor([(row, end - panel.first) for row, end in self.to_forecast]).T
            window = torch.arange(-hparams["context"], hparams["horizon"])
            self.inputs += (cut_covariates(every, channel_kinds(known), rows, starts, window),)
        if panel.clock.zoned != hparams["zoned"]:
            log.warning(f"input: {zone_difference(panel.clock.zoned)}: days may begin elsewhere")
        return problems

    def _lacks_ahead(self, panel: Panel, row: int, end: int, horizon: int) -> str:
        """Describe the first step ahead that lacks a future covariate; empty if none does."""
        for raw in panel.covariates:
            there = ~np.isnan(raw.values[row, end : end + horizon])
            if raw.kind == "future" and there.sum() < horizon:
                step = int(np.flatnonzero(~np.append(there, False))[0])
                time = panel.step.times(np.array([end + panel.first + step]))[0]
                rows = f"expected {horizon} rows after its last value, with {self.columns.value!r} empty"
                return f"has no {raw.name!r} for {time:%Y-%m-%d %H:%M}; {rows}"
        return ""

    def predictions_name(self, source: str) -> str:
        return f"{Path(source).stem}_forecast{Path(source).suffix}"

    def write_predictions(self, outputs: list[Tensor], path: Path, hparams: Mapping[str, Any]) -> int:
        """Write one row per step: series, time, and one column per quantile. Return the number of rows."""
        centred_quantiles = torch.cat(outputs).cpu().double().numpy()  # (N, H, Q)
        quantiles = rounded(centred_quantiles, self.inputs[2].double().numpy(), hparams["least"])
        horizon = np.arange(hparams["horizon"])
        parts = []
        for (row, end), forecast in zip(self.to_forecast, quantiles, strict=True):
            part = pd.DataFrame(forecast, columns=[f"q{level:g}" for level in hparams["quantiles"]])
            times = self.panel.clock.written(self.panel.step.times(end + horizon), row)
            part.insert(0, self.columns.time, times)
            if name := self.columns.series or ("series" if self.columns.wide else None):
                part.insert(0, name, self.panel.names[row])
            parts.append(part)
        frame = pd.concat(parts)
        write_table(frame, path)
        return len(frame)


def phase(counts: Tensor, seasons: list[int]) -> Tensor:
    """Return the positions (B, M), from 0 to 1, of step numbers (B,) in each season."""
    lengths = torch.tensor(seasons)
    return (counts[:, None] % lengths) / lengths
