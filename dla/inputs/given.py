"""Reading the plain values that users pass: whole numbers, tokens, lists of them; or an error that explains them."""

import math
import numbers
import re
import reprlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from dla.text import as_text

if TYPE_CHECKING:
    Count = SupportsIndex
else:  # a type checker at run time would refuse a wrong argument before `count` can explain what is wrong
    Count = object

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60
_NEW_LINE = re.compile(r"\s*\n\s*")

_MOST = 10_000_000
"""How many items a list of a user's may have."""


_ALONE = (int, str, float, bool, type(None))


def shown(value: object) -> str:
    """A value as an error shows it, in a few words: no modules of a model and no numbers of a tensor."""
    if isinstance(value, type):
        return f"the class {as_text(value.__name__)}"
    if isinstance(value, Tensor):
        return _tensor_in_words(value) if value.is_meta or value.is_nested or value.ndim else _in_short(value)
    if isinstance(value, np.ndarray) and value.ndim:
        return f"{_named(value)} of shape {list(value.shape)} and dtype {value.dtype}"
    if isinstance(value, torch.nn.Module) or is_a(value, "pandas", "Series", "Index", "DataFrame"):
        return _named(value)
    return _in_short(value)


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


def plain_tensor(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."] | None:
    """The same numbers one after the other on the CPU; None where a tensor holds none.

    A sparse or a quantised tensor is written out. One on the meta device has a shape and no numbers.
    """
    if tensor.is_meta or tensor.is_nested:
        return None
    tensor = tensor.detach()
    tensor = tensor.dequantize() if tensor.is_quantized else tensor
    return (tensor if tensor.layout == torch.strided else tensor.to_dense()).cpu()


def ids_in(value: object) -> Int[Tensor, "..."] | None:
    """The whole numbers of a tensor or an array; None for anything else, such as one of texts, or with a mask.

    Raises:
        TypeError: If it holds other numbers.
        ValueError: If it has more than can be read.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "iufcb" and not isinstance(value, np.ma.MaskedArray):
        if value.dtype.kind not in "iu":
            raise TypeError(f"Token ids must be integers; the array has dtype {value.dtype}. Pass `ids.astype(int)`.")
        _few_enough(value, value.size)
        return torch.tensor(value.astype(np.int64), device="cpu")  # PyTorch hardly computes with unsigned integers
    tensor = plain_tensor(value) if isinstance(value, Tensor) and _few_enough(value, value.numel()) else None
    if tensor is None:
        return None
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"Token ids must be integers; the tensor has dtype {tensor.dtype}. Pass `tokens.long()`.")
    return tensor.long()


def whole_number(value: object) -> int | None:
    """A whole number of Python, NumPy or a tensor without axes; None for anything else, such as True or 1.0."""
    if type(value) is int:  # most are, and the checks below take long for a million of them
        return value
    if isinstance(value, Tensor):
        plain = None if value.is_nested or value.ndim else plain_tensor(value)
        return None if plain is None else whole_number(plain.item())
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    # Python's bool is an int, but True as a count, a position or a token is a mistake; so is a stretch of time.
    if isinstance(value, bool | np.timedelta64):
        return None
    return int(value) if isinstance(value, numbers.Integral) else None


def items(value: object) -> list[Any] | None:
    """The items of a list, an array, a tensor or a column of a data frame; None for anything else.

    Raises:
        ValueError: If there are more than anyone means, as in `range(10**12)`.
    """
    if type(value) in _ALONE:  # the checks below take long for a million of them
        return None
    if isinstance(value, Tensor):
        if value.is_nested:
            return list(value.unbind())
        plain = plain_tensor(value) if value.ndim and _few_enough(value, value.numel()) else None
        return None if plain is None else plain.tolist()
    if isinstance(value, np.ndarray):
        listable = value.ndim and value.dtype.kind not in "mM"  # a time would be listed as a number
        return value.tolist() if listable and _few_enough(value, value.size) else None
    if is_a(value, "pandas", "Series", "Index") or is_a(value, "pandas.api.extensions", "ExtensionArray"):
        columns: Any = value
        return list(columns)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray | memoryview):
        return None
    return list(value) if _few_enough(value, len(value)) else None


def count(value: object, what: str, of: str, least: int = 1) -> int:
    """A number of things, checked.

    Args:
        value: The number.
        what: What the argument is called.
        of: What is counted, for the message.
        least: The smallest number that makes sense.

    Raises:
        TypeError: If it is not a whole number.
        ValueError: If it is less than `least`, or too large for any list.
    """
    number = whole_number(value)
    if number is None:
        raise TypeError(f"{what}={shown(value)} is not a whole number. Pass how many, such as 5.")
    if number < least:
        raise ValueError(f"{what}={shown(number)}: ask for at least {'one' if least == 1 else least} {of}.")
    if number > sys.maxsize:  # more than lists and files can count
        raise ValueError(f"{what}={shown(number)}: ask for at most {sys.maxsize} {of}.")
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
        ValueError: If it is infinite or NaN, or larger than a float can be.
    """
    found = value
    if isinstance(value, Tensor):
        plain = None if value.is_nested or value.ndim else plain_tensor(value)
        found = value if plain is None else plain.item()
    if isinstance(value, np.ndarray) and value.ndim == 0:
        found = value.item()
    if isinstance(found, bool) or not isinstance(found, numbers.Real):
        raise TypeError(f"{shown(value)} is given as {what}, and is not a number. Pass one, such as 0.5.")
    try:
        size = float(found)
    except OverflowError:
        size = math.inf
    if not math.isfinite(size):
        raise ValueError(f"{shown(found)} is given as {what}. Pass a finite number.")
    return size


def _few_enough(value: object, size: int) -> bool:
    if size > _MOST:
        raise ValueError(f"{shown(value)} has {size} items, and at most {_MOST} can be read. Pass fewer.")
    return True


def _tensor_in_words(tensor: Shaped[Tensor, "..."]) -> str:
    shape = "" if tensor.is_nested else f" of shape {list(tensor.shape)} and dtype {tensor.dtype}"
    nothing = " on the meta device, without numbers" if tensor.is_meta else ""
    return f"a {'nested ' * tensor.is_nested}{type(tensor).__name__}{shape}{nothing}"


def _in_short(value: object) -> str:
    try:
        words = _REPR.repr(value)
    except Exception:  # a `repr` may raise anything: that of a whole number of 5,000 digits is a ValueError
        words = _named(value)
    return as_text(_NEW_LINE.sub(" ", words))


def _named(value: object) -> str:
    name = as_text(type(value).__name__)
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
