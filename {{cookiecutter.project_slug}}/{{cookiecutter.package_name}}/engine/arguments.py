"""Types of config values: numbers with a range, parts of the config to build, the switches of train.yaml.

The upper limits keep an untrusted config from exhausting memory or time.
"""

from typing import Annotated, Any, Literal, TypedDict

from annotated_types import Ge, Gt, Le, Lt

From0Below1 = Annotated[float, Ge(0), Lt(1)]  # such as dropout
Above0Below1 = Annotated[float, Gt(0), Lt(1)]  # such as a fraction of the data
BatchSize = Annotated[int, Ge(1), Lt(2**31)]
Seed = Annotated[int, Ge(0), Lt(2**32)]  # the range of numpy's seeds
Count = Annotated[int, Ge(1), Le(2**16)]  # units, layers, tokens to generate
Stages = Annotated[int, Ge(1), Le(16)]  # each doubles the channels
Length = Annotated[int, Ge(1), Le(2**20)]  # steps of a series, tokens of a text
Pixels = Annotated[int, Ge(1), Le(2**12)]  # of a side
Side = Annotated[int, Ge(4), Le(2**12)]  # pixels of a side that a network can halve
Draws = Annotated[int, Ge(1), Le(10_000)]  # samples to draw, steps of sampling
Workers = Annotated[int, Ge(0), Le(1024)]  # processes


class Given:
    """Arguments that the code passes itself when it builds a node: their names, and the number of positional ones.

    Example: `network: Annotated[Config, Given("num_classes")]` in a model that calls `build(network, num_classes=…)`.
    The config must not set these arguments, and the target must accept them.
    """

    def __init__(self, *names: str, positional: int = 0) -> None:
        self.names, self.positional = frozenset(names), positional


Config = dict[str, Any]  # a part of the config with a `_target_`, for `build`
OptimizerConfig = Annotated[Config, Given(positional=1)]  # build(optimizer, parameters)
SchedulerConfig = Annotated[Config, Given("total_steps", positional=1)]  # build(scheduler, optimizer, total_steps=…)


class Switches(TypedDict, total=False):
    """The top-level keys of train.yaml that are not arguments of a target."""

    name: str | None
    seed: Seed
    folds: Annotated[int, Ge(2), Le(1000)] | None
    init_from: str | None
    rerun: str | None
    resume: Literal["exact", "inexact"]
    save_minutes: Annotated[float, Ge(0)]
    monitor: str
    mode: Literal["min", "max"] | None
