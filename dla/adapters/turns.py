"""Turns: one call at a time on one model. Hooks are on the model, so two runs at once would see each other's."""

from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

_GUARD = Lock()
_LOCKS: WeakKeyDictionary[Any, RLock] = WeakKeyDictionary()
_OF_ALL_OTHERS = RLock()
"""For adapters that cannot be keys, such as a dataclass that compares its fields."""


def turn_on(source: Any) -> RLock:
    """The lock that whoever puts hooks on a model holds meanwhile; a thread that has it may take it again.

    Args:
        source: The model itself, or an adapter that is its own source; see `ModelAdapter.source`.
    """
    if type(source).__hash__ is None:
        return _OF_ALL_OTHERS
    with _GUARD:
        return _LOCKS.setdefault(source, RLock())
