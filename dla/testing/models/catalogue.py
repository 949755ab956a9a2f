"""Finds an entry by its name."""

import difflib
from collections.abc import Sequence
from typing import TypeVar

from dla.inputs.arguments import instance
from dla.inputs.given import shown
from dla.testing.models.hooked_transformers import HOOKED, HookedArchitecture
from dla.testing.models.hugging_face import HUGGING_FACE, REFUSED, WIDE_OUTPUT, HuggingFaceArchitecture
from dla.text import some_of

_COMPARED = 100
"""How many characters of a name that is not there are compared with those that are."""

_Architecture = TypeVar("_Architecture", HuggingFaceArchitecture, HookedArchitecture)


def architecture(name: str) -> HuggingFaceArchitecture:
    """The entry of `HUGGING_FACE` or `REFUSED` with that name.

    Raises:
        TypeError: If the name is no text.
        ValueError: If there is none; the message lists the names nearest to it.
    """
    return _find(name, (*HUGGING_FACE, *REFUSED, WIDE_OUTPUT), "HUGGING_FACE or REFUSED")


def hooked_architecture(name: str) -> HookedArchitecture:
    """The entry of `HOOKED` with that name.

    Raises:
        TypeError: If the name is no text.
        ValueError: If there is none; the message lists the names nearest to it.
    """
    return _find(name, HOOKED, "HOOKED")


def _find(name: str, entries: Sequence[_Architecture], where: str) -> _Architecture:
    found = {entry.name: entry for entry in entries}
    called = instance(name, str, "The name of an entry", f"a text, the name of one of {where}")
    if called in found:
        return found[called]
    near = difflib.get_close_matches(called[:_COMPARED], found, n=5, cutoff=0.4) or sorted(found)
    raise ValueError(f"{shown(called)} is not an entry of {where}. The names nearest to it: {some_of(near, 8)}.")
