"""Types of the top-level keys of train.yaml."""

from typing import Annotated, Literal, TypedDict

from annotated_types import Ge, Le

from ..arguments import Seed


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
