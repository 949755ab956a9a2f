"""Finds an entry by its name."""

import difflib
from collections.abc import Sequence
from typing import TypeVar

from dla.testing.models.hooked_transformers import HOOKED, HookedArchitecture
from dla.testing.models.hugging_face import HUGGING_FACE, REFUSED, HuggingFaceArchitecture

_Architecture = TypeVar("_Architecture", HuggingFaceArchitecture, HookedArchitecture)


def architecture(name: str) -> HuggingFaceArchitecture:
    """The entry of `HUGGING_FACE` or `REFUSED` with that name.

    Raises:
        ValueError: If there is none; the message lists the names nearest to it.
    """
    return _find(name, (*HUGGING_FACE, *REFUSED), "HUGGING_FACE or REFUSED")


def hooked_architecture(name: str) -> HookedArchitecture:
    """The entry of `HOOKED` with that name.

    Raises:
        ValueError: If there is none; the message lists the names nearest to it.
    """
    return _find(name, HOOKED, "HOOKED")


def _find(name: str, entries: Sequence[_Architecture], where: str) -> _Architecture:
    found = {entry.name: entry for entry in entries}
    if name in found:
        return found[name]
    near = difflib.get_close_matches(name, found, n=5, cutoff=0.4) or sorted(found)
    raise ValueError(f"{name!r} is not an entry of {where}. The names nearest to it: {', '.join(near)}.")
