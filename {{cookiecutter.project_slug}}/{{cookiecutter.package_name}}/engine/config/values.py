"""Check config values against the types of the signatures, with pydantic."""

import json
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

from ..arguments import Switches
from ..errors import refusal
from ..files import check_writable
from .signatures import Parameter

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")  # else it searches every installed package

FOLDER_PATTERN = re.compile(r"(dir|path|root|folder)$")  # names of arguments that say where to write
ABSENT_ERRORS = ("path_not_file", "path_not_directory")  # pydantic's errors for FilePath and DirectoryPath
STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)


def check_values(plain: dict[str, Any], arguments: Iterable[tuple[str, Any, Parameter]], reads_data: bool) -> None:
    """Raises RefusedError for the first switch or argument that has the wrong type or is out of range.

    With `reads_data`, files and folders to read must exist.
    """
    for key, type_ in get_type_hints(Switches, include_extras=True).items():
        if key in plain:
            check_value(key, plain[key], type_)
    for key, value, parameter in arguments:
        check_value(key, value, parameter.type(), reads_data)


def check_value(key: str, value: Any, type_: Any, reads_data: bool = True) -> None:
    """Raises RefusedError if `value` has the wrong type or is out of range."""
    try:
        # On JSON, strict mode accepts a list for a tuple and a string for a path, but not "5" for 5.
        parsed = _adapter(type_).validate_json(json.dumps(value), strict=True)
    except TypeError:  # a tensor among the hyper-parameters of a checkpoint
        raise refusal(key, type(value).__name__, "expected plain values") from None
    except (PydanticUserError, PydanticUndefinedAnnotation):
        return  # pydantic has no schema for this type
    except ValidationError as error:
        if not reads_data and all(problem["type"] in ABSENT_ERRORS for problem in error.errors()):
            return
        reasons = dict.fromkeys(_expected(problem["msg"]) for problem in error.errors(include_url=False))
        expected = "expected " + " or ".join(reasons)
        raise refusal(key, value, expected, re.findall(r"'([^']*)'", expected), str(value)) from None
    if type(parsed) is int and type(value) is not int:  # Literal[2] accepts 2.0, and Literal[1] true
        raise refusal(key, value, f"expected a whole number: {parsed}")


def check_written(arguments: Iterable[tuple[str, Any, Parameter]]) -> None:
    """Raises RefusedError for the first output file or folder that can't be written."""
    for key, value, parameter in arguments:
        type_ = parameter.type()
        is_path = Path in get_args(type_) and get_origin(type_) is not Annotated  # FilePath and the like are only read
        written = key.startswith(("callbacks.", "logger.", "trainer.")) and FOLDER_PATTERN.search(key)
        if isinstance(value, str) and value and (is_path or written):  # Lightning writes to paths of this type
            check_writable(key, Path(value))


@cache
def _adapter(type_: Any) -> TypeAdapter[Any]:
    own = hasattr(type_, "__pydantic_config__")  # of a TypedDict
    return TypeAdapter(type_, config=None if own else STRICT)


def _expected(message: str) -> str:
    """Shorten a message of pydantic, such as "Input should be a valid integer"."""
    text = message.removeprefix("Input should be ").removeprefix("Value error, ")
    text = text.replace("a valid array", "a list").replace("Path does not point to a", "a path to an existing")
    text = re.sub("^a valid (?=[aeiou])", "an ", text).replace("a valid ", "a ")
    return f"a value {text}" if text.startswith(("greater", "less")) else text
