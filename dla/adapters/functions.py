"""What identifies a function of the user's: its name for people, a digest of what it does for fingerprints."""

import functools
import hashlib
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

# How many levels of the functions that a function uses are part of its digest.
_DEPTH = 3

_SAMPLED = 4096  # how many entries of a tensor are part of a digest


def name_of(function: Any) -> str:
    """A function as `module.qualified_name`; a callable object by its class."""
    function = _plain(function)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', None) or 'unknown'}.{named.__qualname__}"


def package_of(function: Any) -> str:
    """The package in which a function, or the class of a callable object, was defined."""
    return name_of(function).partition(".")[0]


def digest_of(function: Any) -> str:
    """Changes with a function's code and with the numbers, texts and tensors that it uses; the same in every process.

    The contents of lists and dicts are left out: a hook that collects activations there remains the same hook.
    """
    total = hashlib.sha256()
    for piece in _pieces(function, _DEPTH):
        total.update(piece.encode() + b"\0")
    return total.hexdigest()[:8]


def _plain(function: Any) -> Any:
    """The function that a partial or a method calls."""
    while isinstance(function, functools.partial | MethodType):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    return function


def _pieces(value: Any, depth: int) -> Iterator[str]:
    """Everything that identifies a value, as texts."""
    if isinstance(value, Tensor):
        yield _of_tensor(value)
    elif isinstance(value, str | bytes | int | float | complex | slice):
        yield repr(value)
    elif isinstance(value, tuple):
        for inner in value:
            yield from _pieces(inner, depth)
    elif depth < 0 or value is None or isinstance(value, type | list | dict):
        yield type(value).__qualname__
    elif isinstance(value, functools.partial):
        yield from _pieces((value.func, value.args, tuple(value.keywords.items())), depth)
    elif isinstance(value, MethodType):
        yield from _pieces((value.__func__, value.__self__), depth)
    elif isinstance(value, FunctionType):
        yield from _of_function(value, depth - 1)
    elif isinstance(value, nn.Module):
        yield from (name_of(value), *(_of_tensor(parameter) for parameter in value.parameters()))
    else:
        yield name_of(value)
        yield from _pieces(tuple(getattr(value, "__dict__", {}).items()), depth - 1)


def _of_function(function: FunctionType, depth: int) -> Iterator[str]:
    yield name_of(function)
    yield from _of_code(function.__code__)
    yield from _pieces((function.__defaults__, tuple((function.__kwdefaults__ or {}).items())), depth)
    for cell in function.__closure__ or ():
        yield from _pieces(_content(cell), depth)
    for name in function.__code__.co_names:
        used = function.__globals__.get(name)
        if isinstance(used, str | int | float | complex | tuple | Tensor | FunctionType):
            yield from (name, *_pieces(used, depth))


def _of_code(code: CodeType) -> Iterator[str]:
    yield from (code.co_code.hex(), *code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant)
        else:
            # The order of a set of texts is another in every process.
            yield repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)


def _of_tensor(tensor: Shaped[Tensor, "..."]) -> str:
    # Every n-th entry: a hook may hold a whole weight matrix, and its digest is taken at every call.
    flat = tensor.detach().reshape(-1)
    some = flat[:: max(1, len(flat) // _SAMPLED)].to("cpu")
    some = torch.view_as_real(some).reshape(-1) if some.is_complex() else some
    return f"{tuple(tensor.shape)} {tensor.dtype} {some.double().numpy().tobytes().hex()}"


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return None
