"""Texts that a file cannot hold as they are: a zero byte, and half of a character, as single bytes decode to."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from dla.text import as_text

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_STORED = re.compile("\0([0-9a-f]{4})")

_Nested = TypeVar("_Nested")


def storable(text: str) -> str:
    """A text to read in a file: what it cannot hold is written as escapes."""
    return _UNSTORABLE.sub(lambda found: as_text(found[0]), text)


def stored(value: _Nested) -> _Nested:
    """A text, or all texts in a structure, as JSON can hold them; `restored` gives them back."""
    found: _Nested = _each_text(value, _UNSTORABLE, lambda match: f"\0{ord(match[0]):04x}")
    return found


def restored(value: _Nested) -> _Nested:
    """What `stored` was given."""
    found: _Nested = _each_text(value, _STORED, lambda match: chr(int(match[1], 16)))
    return found


def _each_text(value: Any, unit: re.Pattern[str], other: Callable[[re.Match[str]], str]) -> Any:
    if isinstance(value, str):
        return unit.sub(other, value)
    if isinstance(value, Mapping):
        return {_each_text(key, unit, other): _each_text(each, unit, other) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_each_text(each, unit, other) for each in value)
    return value
