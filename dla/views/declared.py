"""JSON read as what a class declares: each field is there and of its type, or an error names it."""

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from dla.views.formats import check_format
from dla.views.sealed import unsealed_json

if TYPE_CHECKING:
    import pydantic


def declared(kind: Any, contents: str | bytes) -> Any:
    """A value of a type, such as a dataclass or a TypedDict, of its JSON. No number is made of a text, or the like.

    Raises:
        ValueError: If a field is missing or of another type, or it is no JSON, or too deep; says which and why.
    """
    import pydantic  # takes as long as the rest of a room: only who reads a file waits for it

    try:
        return _adapter(kind).validate_json(contents, strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from error


def declared_of(contents: bytes, kind: Any, format_: str) -> Any:
    """A value of a type, of the file that `sealed_json` made of it.

    Args:
        contents: What stands in the file.
        kind: The type, which has a field `format`.
        format_: What that field must be.

    Raises:
        FileFormatError: If it was written by a newer version.
        ValueError: If it is of another format, was edited, or does not hold what the type declares.
    """
    try:
        return declared(kind, unsealed_json(contents))
    except ValueError:
        check_format(_format_of(contents), format_)
        raise


def _format_of(contents: bytes) -> Any:
    """The format that a file says to be of; None where it says nothing."""
    import pydantic_core

    with suppress(ValueError):
        value = pydantic_core.from_json(contents)
        return value.get("format") if isinstance(value, dict) else None
    return None


@cache
def _adapter(kind: Any) -> "pydantic.TypeAdapter[Any]":
    import pydantic

    return pydantic.TypeAdapter(kind)
