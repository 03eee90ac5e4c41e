"""Types of numbers with a range, for the arguments of models and datamodules."""

from typing import Annotated

from pydantic import Field

Share = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
BatchSize = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy takes
# A model and its data can be a stranger's: more than these takes no memory and no time that anybody has.
Count = Annotated[int, Field(ge=1, le=2**16)]  # units, layers, tokens to write
Stages = Annotated[int, Field(ge=1, le=16)]  # each doubles the channels
Length = Annotated[int, Field(ge=1, le=2**20)]  # steps of a series, tokens of a text
Pixels = Annotated[int, Field(ge=1, le=2**12)]  # of a side
Side = Annotated[int, Field(ge=4, le=2**12)]  # pixels that a network can halve
Draws = Annotated[int, Field(ge=1, le=10_000)]  # samples, and steps to each
Workers = Annotated[int, Field(ge=0, le=1024)]  # processes
