"""Files that somebody made by hand: one value of nested fields left out, or of another type."""

from collections.abc import Iterator
from typing import Any

STRANGE = (None, "x", 1.5, True, 2**70, [], {})


def alterations(told: Any) -> Iterator[Any]:
    """The same with another value in one place, or without it; of a list the first item is altered."""
    inner = told.items() if isinstance(told, dict) else enumerate(told[:1]) if isinstance(told, list | tuple) else ()
    for key, value in inner:
        rest = dict(told) if isinstance(told, dict) else [*told]
        for other in (*STRANGE, *alterations(value)):
            rest[key] = other
            yield dict(rest) if isinstance(told, dict) else [*rest]
        if isinstance(told, dict):
            yield {name: each for name, each in told.items() if name != key}
