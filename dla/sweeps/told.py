"""What directions and decomposers hold, field by field: to tell two questions apart, and to find columns and spans."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dla.decomposers import SourceDecomposer
from dla.inputs.columns import Column
from dla.inputs.spans import Spans

_FEW = 3
"""How many items of a list words tell."""

_OWN = ("dla.directions", "dla.sweeps", "dla.inputs")
"""The modules whose objects tell all that they hold in words, but for long lists and tensors."""


def told(value: Any) -> tuple[Any, bool]:
    """The contents of a value, and whether its words tell all of them.

    Two values with the same contents are the same question, in any process.

    Args:
        value: A direction, or what it holds.
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value, True
    if isinstance(value, Tensor | np.ndarray):
        array = value.detach().cpu() if isinstance(value, Tensor) else torch.as_tensor(np.ascontiguousarray(value))
        contents = array.contiguous().view(torch.uint8).numpy().tobytes() if array.ndim else repr(array.item()).encode()
        return ["tensor", str(array.dtype), list(array.shape), hashlib.sha256(contents).hexdigest()], False
    if isinstance(value, list | tuple | set | frozenset):
        several = [told(each) for each in value]
        return [contents for contents, _ in several], len(several) <= _FEW and all(plain for _, plain in several)
    if isinstance(value, Mapping):
        named = {str(key): told(each) for key, each in value.items()}
        return {key: each[0] for key, each in named.items()}, all(plain for _, plain in named.values())
    name, fields = f"{type(value).__module__}.{type(value).__qualname__}", _fields(value)
    if not fields:
        return [name, re.sub(r" at 0x[0-9a-f]+", "", repr(value))], name.startswith(_OWN)
    contents, plain = told(fields)
    return [name, contents], plain and name.startswith(_OWN)


def columns_in(value: Any) -> list[str]:
    """The names of the columns in a direction, each once, in order."""
    return list(dict.fromkeys(each.name for each in _inside(value) if isinstance(each, Column)))


def spans_in(decomposer: Any) -> list[Spans]:
    """The spans of the sources in a decomposition."""
    found = [each.spans for each in _inside(decomposer) if isinstance(each, SourceDecomposer)]
    return [spans for spans in found if spans is not None]


def _inside(value: Any) -> Iterator[Any]:
    """A value and all that it holds."""
    yield value
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _inside(each)
    elif not isinstance(value, Tensor | np.ndarray | torch.nn.Module):
        for each in _fields(value).values():
            yield from _inside(each)


def _fields(value: Any) -> dict[str, Any]:
    return dict(vars(value)) if hasattr(value, "__dict__") and not isinstance(value, type) else {}
