"""An exception of a class under check: the line of its code, the call that made it, and what the interface expects."""

import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from dla.adapters import ModelAdapter
from dla.decomposers import Decomposer, Entry
from dla.directions import Direction
from dla.errors import DLAError
from dla.inputs.given import shown
from dla.testing.report import CheckResult
from dla.writes import Write

_LIBRARY = Path(__file__).parents[1]
_OTHERS = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))

_INTERFACES: dict[str, tuple[str, Any]] = {
    **{name: (f"Write.{name}", getattr(Write, name)) for name in ("labels", "reads", "contract", "vectors")},
    **{name: (f"Direction.{name}", getattr(Direction, name)) for name in ("resolve", "describe")},
    **{
        name: (f"ModelAdapter.{name}", getattr(ModelAdapter, name)) for name in ("anatomy", "vocabulary", "run", "owns")
    },
    "writes": ("Decomposer.writes", Decomposer.writes),
}
"""What the methods of an interface are called, and where their docstrings stand."""


def words_of_exception(error: BaseException) -> str:
    """What was raised, where in the user's code, by which call, and what that call expects."""
    frames = traceback.extract_tb(error.__traceback__)
    told = [f"it raises {type(error).__name__}: {error}"]
    own = [i for i, frame in enumerate(frames) if not _is_library(frame.filename)]
    if not own:
        return told[0]
    first, last = frames[own[0]], frames[own[-1]]
    told.append(f"  in {last.name}, line {last.lineno} of {Path(last.filename).name}: {shown(last.line or '')}")
    if own[0] > 0:
        caller = frames[own[0] - 1]
        told.append(f"  called by {Path(caller.filename).name}, {caller.name}: {shown(caller.line or '')}")
    expected = _expected(frames, first, own)
    return "\n".join([*told, f"  expected: {expected}"] if expected else told)


def _expected(frames: Sequence[traceback.FrameSummary], first: traceback.FrameSummary, own: Sequence[int]) -> str:
    """The first sentence of the docstring of the method that was called."""
    names = [first.name, *(frames[i].name for i in own)]
    # A function given to an entry has a name of its own; the library calls it in `Entry.write`.
    if own[0] > 1 and frames[own[0] - 1].name == "write" and "resolve" in (frames[own[0] - 1].line or ""):
        return f"`Entry.resolve`: {(Entry.write.__doc__ or '').partition('.')[0]}."
    for name in names:
        if name in _INTERFACES:
            spelled, method = _INTERFACES[name]
            return f"`{spelled}`: {' '.join((method.__doc__ or '').split()).partition('. ')[0].rstrip('.')}."
    return ""


def _is_library(filename: str) -> bool:
    """Whether a file is this library's, Python's, or of an installed package."""
    path = Path(filename)
    return any(path.is_relative_to(folder) for folder in (_LIBRARY, *_OTHERS))


def guarded(name: str, steps: Callable[[], Iterator[CheckResult]]) -> Iterator[CheckResult]:
    """The steps; if what is checked raises an error, which may be any, a step of that name that says so."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from steps()
    except Exception as error:
        told = str(error) if isinstance(error, DLAError) else words_of_exception(error)
        yield CheckResult(name, problem=told, raised=True)
