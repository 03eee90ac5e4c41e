"""Types for the arguments of models and datamodules: numbers with a range, and parts of the config to build.

A model and its data may be a stranger's: nothing above these ranges takes memory or time that anybody has.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

From0Below1 = Annotated[float, Ge(0), Lt(1)]  # such as dropout
Above0Below1 = Annotated[float, Gt(0), Lt(1)]  # such as a part of the data
BatchSize = Annotated[int, Ge(1), Lt(2**31)]
Seed = Annotated[int, Ge(0), Lt(2**32)]  # what numpy takes
Count = Annotated[int, Ge(1), Le(2**16)]  # units, layers, tokens to write
Stages = Annotated[int, Ge(1), Le(16)]  # each doubles the channels
Length = Annotated[int, Ge(1), Le(2**20)]  # steps of a series, tokens of a text
Pixels = Annotated[int, Ge(1), Le(2**12)]  # of a side
Side = Annotated[int, Ge(4), Le(2**12)]  # pixels that a network can halve
Draws = Annotated[int, Ge(1), Le(10_000)]  # samples, and steps to each
Workers = Annotated[int, Ge(0), Le(1024)]  # processes


@dataclass(frozen=True, init=False)
class Given:
    """Arguments that the code passes itself to what it builds: names, and how many without a name.

    As in `network: Annotated[Config, Given("num_classes")]` of a model that calls `build(network, num_classes=…)`: the
    config may then not set them, and what it names has to take them.
    """

    names: frozenset[str]
    positional: int

    def __init__(self, *names: str, positional: int = 0) -> None:
        object.__setattr__(self, "names", frozenset(names))
        object.__setattr__(self, "positional", positional)


Config = dict[str, Any]  # a part of the config with a `_target_`, for `build`
OptimizerConfig = Annotated[Config, Given(positional=1)]  # build(optimizer, parameters)
SchedulerConfig = Annotated[Config, Given("total_steps", positional=1)]  # build(scheduler, optimizer, total_steps=…)
