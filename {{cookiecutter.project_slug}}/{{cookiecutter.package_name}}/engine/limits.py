"""Ranges that arguments of the config have in common, beside pydantic's own (PositiveInt, DirectoryPath, …)."""

from typing import Annotated

from pydantic import Field

Share = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy takes
