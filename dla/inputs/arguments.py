"""Checks of what is passed to public functions. Each error names the value, what was expected, and what to pass."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from dla.inputs.given import plain_tensor, shown

_Kind = TypeVar("_Kind")


def choice(value: object, what: str, choices: Sequence[str]) -> str:
    """One of a few words, checked.

    Args:
        value: The word.
        what: What the argument is called.
        choices: The words.

    Raises:
        ValueError: If it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        words = [repr(each) for each in choices]
        raise ValueError(f"{what}={shown(value)}; pass {', '.join(words[:-1])} or {words[-1]}.")
    return str(value)


def flag(value: object, what: str, none: str = "") -> bool | None:
    """True, False, or None, checked.

    Args:
        value: The value.
        what: What the argument is called.
        none: What None stands for, if that is not plain.

    Raises:
        TypeError: If it is none of them.
    """
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{what}={shown(value)}; pass True, False or None{none and f', which is {none}'}.")
    return value


def instance(value: object, kinds: type[_Kind] | tuple[type[_Kind], ...], what: str, such_as: str) -> _Kind:
    """An object of some class, checked.

    Args:
        value: The object.
        kinds: The class, or several.
        what: What it is called.
        such_as: What to pass.

    Raises:
        TypeError: If it is not one.
    """
    if not isinstance(value, kinds):
        raise TypeError(f"{what} is {shown(value)}. Pass {such_as}.")
    return value


def check_fields(of: object, **kinds: type | tuple[type, ...]) -> None:
    """Checks the fields of an object that was just made.

    Args:
        of: The object.
        kinds: The class, or the classes, of each field by its name.

    Raises:
        TypeError: If a field is of another class.
    """
    for field, kind in kinds.items():
        value = getattr(of, field)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            kinds_in_words = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
            article = "an" if kinds_in_words[0] in "AEIOaeio" else "a"
            raise TypeError(f"{type(of).__name__}: {field} is {shown(value)}. Pass {article} {kinds_in_words}.")


def name(value: object, what: str) -> str:
    """A text of at least one character, checked.

    Args:
        value: The text.
        what: What is called so, such as "A group".

    Raises:
        TypeError: If it is no text.
        ValueError: If it is empty.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} is called {shown(value)}. Pass a text as its name.")
    if not value:
        raise ValueError(f"{what} is called ''. Pass a text of at least one character as its name.")
    return str(value)


def file_path(value: object, what: str) -> Path:
    """A path, checked.

    Args:
        value: The path, as a text or a `Path`.
        what: What it is the path of, such as "the file".

    Raises:
        TypeError: If it is neither.
        ValueError: If no file can be called that.
    """
    if not isinstance(value, str | Path):
        raise TypeError(f"The path of {what} is {shown(value)}. Pass it as a text or a pathlib.Path.")
    if not str(value):
        raise ValueError(f"The path of {what} is ''. Pass the name of one; '.' is the folder that you are in.")
    try:
        encoded = os.fsencode(value)
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise ValueError(f"No file can be called {shown(str(value))}. Pass another path for {what}.")
    if max(map(len, encoded.split(os.sep.encode()))) > _LONGEST_NAME or len(encoded) > _LONGEST_PATH:
        raise ValueError(f"The path {shown(str(value))} has {len(encoded)} characters. Pass a shorter one for {what}.")
    return Path(value)


def function(value: object, what: str, such_as: str) -> Callable[..., Any]:
    """A function, checked. A class or a model can be called too, and is none.

    Args:
        value: The function.
        what: What the argument is called.
        such_as: What to pass.

    Raises:
        TypeError: If it is none.
    """
    if not callable(value) or isinstance(value, type | torch.nn.Module):
        raise TypeError(f"{what}={shown(value)} is not a function. Pass {such_as}.")
    return value


def truth(value: object, whose: str) -> bool:
    """Whether a function of the user's said yes: a truth, or what `re.match` gives.

    Args:
        value: What it gave.
        whose: What it was asked, such as "`where` for 'L1H1'".

    Raises:
        TypeError: If it is neither. A text or a number is true or false by accident, as layer 0 is.
    """
    if isinstance(value, torch.Tensor) and not value.is_nested and not value.ndim:
        plain = plain_tensor(value)
        value = value if plain is None else plain.item()
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value[()]
    if not isinstance(value, bool | np.bool_ | re.Match | None):
        raise TypeError(f"{whose} gave {shown(value)}. It must give True or False.")
    return bool(value)


_LONGEST_NAME, _LONGEST_PATH = 255, 4095
"""In bytes, on common systems."""
