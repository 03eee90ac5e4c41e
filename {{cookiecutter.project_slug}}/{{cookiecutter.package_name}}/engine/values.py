"""Whether the values of a config are of the types that signatures ask for. The checking is pydantic's."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, Literal, TypedDict, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from .errors import refusal
from .signatures import Node, Parameter

STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)


class Switches(TypedDict, total=False):
    """The keys of train.yaml that no target takes."""

    name: str | None
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    init_from: str | None
    monitor: str
    mode: Literal["min", "max"]


def check_values(plain: dict[str, Any], arguments: Iterable[tuple[str, Any, Parameter]]) -> None:
    """Raises RefusedError for the first value that is not of its type, or out of its range.

    `arguments` are the key, value and parameter of each argument of the config `plain`.
    """
    for key, type_ in get_type_hints(Switches, include_extras=True).items():
        if key in plain:
            check_value(key, plain[key], type_)
    for key, value, parameter in arguments:
        check_value(key, value, parameter.type())


def check_value(key: str, value: Any, type_: Any) -> None:
    """Raises RefusedError where `value` is not of the type, or out of its range."""
    if type_ is Any:
        return
    try:
        adapter = _adapter(type_)
    except (PydanticSchemaGenerationError, PydanticUserError):
        return  # a type that no value of a config could be checked against
    try:
        adapter.validate_python(_with_nodes(value))
    except ValidationError as error:
        reasons = dict.fromkeys(_expected(problem["msg"]) for problem in error.errors())
        expected = "expected " + " or ".join(reasons)
        raise refusal(key, value, expected, re.findall(r"'([^']*)'", expected), str(value)) from None


@cache
def _adapter(type_: Any) -> TypeAdapter[Any]:
    return TypeAdapter(type_, config=STRICT)


def _expected(message: str) -> str:
    """pydantic's "Input should be a valid integer" in fewer words."""
    text = message.removeprefix("Input should be ").replace("an instance of Node", "a node with a _target_")
    text = text.replace("Path does not point to a", "a path to an existing")
    text = re.sub("^a valid (?=[aeiou])", "an ", text).replace("a valid ", "a ")
    return f"a value {text}" if text.startswith(("greater", "less")) else text


def _with_nodes(value: Any) -> Any:
    if isinstance(value, dict):
        inner = {name: _with_nodes(part) for name, part in value.items()}
        return Node(inner) if "_target_" in inner else inner
    return [_with_nodes(part) for part in value] if isinstance(value, list) else value
