"""Locks of models: one call at a time on one model, since a run would see the hooks of another."""

from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

_GUARD = Lock()
_LOCKS: WeakKeyDictionary[Any, RLock] = WeakKeyDictionary()
_OF_ALL_OTHERS = RLock()  # of adapters that cannot be keys, such as a dataclass that compares its fields


def turn_on(source: Any) -> RLock:
    """The lock to hold while hooks are on a model; the thread that holds it may take it again.

    Args:
        source: The model itself, or an adapter that is its own source; see `ModelAdapter.source`.
    """
    if type(source).__hash__ is None:
        return _OF_ALL_OTHERS
    with _GUARD:
        return _LOCKS.setdefault(source, RLock())
