"""Reading the plain values that users pass: whole numbers, tokens, lists of them; or an error that explains them."""

import math
import numbers
import reprlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    Count = SupportsIndex
else:  # a type checker at run time would refuse a wrong argument before `count` can explain what is wrong
    Count = object

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60


def shown(value: object) -> str:
    """A value as an error shows it, in a few words: no modules of a model and no numbers of a tensor."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, Tensor | np.ndarray) and value.ndim:
        return f"{_named(value)} of shape {list(value.shape)} and dtype {value.dtype}"
    if isinstance(value, torch.nn.Module) or is_a(value, "pandas", "Series", "Index", "DataFrame"):
        return _named(value)
    return _REPR.repr(value)


def is_a(value: object, module: str, *names: str) -> bool:
    """Whether a value is an instance of one of some classes, which are looked up only if their module is imported.

    Args:
        value: The value.
        module: The classes' module.
        names: The classes.
    """
    # Importing some libraries takes seconds. Whoever has an instance of a class has imported its module.
    imported = sys.modules.get(module)
    return imported is not None and isinstance(value, tuple(getattr(imported, name) for name in names))


def whole_number(value: object) -> int | None:
    """A whole number of Python, NumPy or a tensor without axes; None for anything else, such as True or 1.0."""
    if isinstance(value, Tensor):
        plain = value.ndim == 0 and not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
        return int(value) if plain else None
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    # Python's bool is an int, but True as a count, a position or a token is a mistake.
    if isinstance(value, bool):
        return None
    return int(value) if isinstance(value, numbers.Integral) else None


def items(value: object) -> list[Any] | None:
    """The items of a list, an array, a tensor or a column of a data frame; None for anything else."""
    if isinstance(value, Tensor):
        if value.is_nested:
            return list(value.unbind())
        return value.tolist() if value.ndim else None
    if isinstance(value, np.ndarray):
        return value.tolist() if value.ndim else None
    if is_a(value, "pandas", "Series", "Index") or is_a(value, "pandas.api.extensions", "ExtensionArray"):
        columns: Any = value
        return list(columns)
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray) else None


def count(value: object, what: str, of: str, least: int = 1) -> int:
    """A number of things, checked.

    Args:
        value: The number.
        what: What the argument is called.
        of: What is counted, for the message.
        least: The smallest number that makes sense.

    Raises:
        TypeError: If it is not a whole number.
        ValueError: If it is less than `least`.
    """
    number = whole_number(value)
    if number is None:
        raise TypeError(f"{what}={shown(value)} is not a whole number. Pass how many, such as 5.")
    if number < least:
        raise ValueError(f"{what}={number}: ask for at least {'one' if least == 1 else least} {of}.")
    return number


def token(value: object) -> str | int:
    """A token, checked: its text or its id.

    Raises:
        TypeError: If it is neither.
    """
    if isinstance(value, str):
        return str(value)
    number = whole_number(value)
    if number is None:
        raise TypeError(f"{shown(value)} is not a token. Pass its text, such as ' Mary', or its id, a whole number.")
    return number


def number(value: object, what: str) -> float:
    """A finite number, checked.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is infinite or NaN.
    """
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{shown(value)} is given as {what}, and is not a number. Pass one, such as 0.5.")
    if not math.isfinite(value):
        raise ValueError(f"{value} is given as {what}. Pass a finite number.")
    return float(value)


def _named(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
