"""Values that no argument means, and how a library must answer them: with a result that is right, or in a sentence."""

import linecache
import math
import re
import traceback
import warnings
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import TypeCheckError

import dla

FOLDER = str(Path(dla.__file__).parent)


class Anything:
    """An object that is nothing the library knows."""


ODD: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "a truth": lambda: True,
    "a truth of NumPy": lambda: np.bool_(True),
    "a truth of PyTorch": lambda: torch.tensor(True),
    "an empty text": lambda: "",
    "a text": lambda: "x",
    "a number as text": lambda: "1",
    "a long text": lambda: "x" * 10**6,
    "markup": lambda: "[/INST]",
    "a command to the terminal": lambda: "\x1b]8;;https://x.y\x07\u202e",
    "half a character": lambda: "\ud800",
    "a zero byte": lambda: "a\0b",
    "bytes": lambda: b"x",
    "bytes in memory": lambda: memoryview(b"x"),
    "minus one": lambda: -1,
    "very many": lambda: 10**12,
    "more digits than Python writes": lambda: 10**5000,
    "fewer than none, with as many digits": lambda: -(10**5000),
    "a fraction": lambda: 1.5,
    "a whole float": lambda: 1.0,
    "NaN": lambda: math.nan,
    "infinity": lambda: -math.inf,
    "a complex number": lambda: 1j,
    "a decimal": lambda: Decimal(1),
    "a stretch of time": lambda: np.timedelta64(1),
    "stretches of time": lambda: np.array([1], dtype="timedelta64[ns]"),
    "what pandas misses": lambda: pd.NA,
    "an empty list": list,
    "an empty dict": dict,
    "a list in a list": lambda: [[]],
    "nothing in a list": lambda: [None],
    "a truth in a list": lambda: [True],
    "NaN in a list": lambda: [math.nan],
    "a set": lambda: {1},
    "a dict of numbers": lambda: {1: 1},
    "a generator": lambda: (i for i in range(2)),
    "more than anyone counts": lambda: range(10**12),
    "a slice of texts": lambda: slice("a", None),
    "an empty array": lambda: np.array([]),
    "objects in an array": lambda: np.array([None, 1]),
    "an array with a mask": lambda: np.ma.array([5, 6], mask=[0, 1]),
    "an array as long as no memory": lambda: np.broadcast_to(np.int64(1), (10**11,)),
    "a tensor of floats": lambda: torch.tensor([1.0]),
    "a tensor of four axes": lambda: torch.ones(2, 2, 2, 2, dtype=torch.long),
    "a tensor without numbers": lambda: torch.empty(2, 3, dtype=torch.long, device="meta"),
    "a number without a number": lambda: torch.empty((), dtype=torch.long, device="meta"),
    "a nested tensor": lambda: torch.nested.nested_tensor([torch.tensor([5, 6]), torch.tensor([7])]),
    "a ragged tensor": lambda: torch.nested.nested_tensor([torch.tensor([5, 6])], layout=torch.jagged),
    "a sparse tensor of NaN": lambda: torch.tensor([[math.nan, 1.0]]).to_sparse(),
    "a quantised tensor": lambda: torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8),
    "a frame": lambda: pd.DataFrame({"prompt": ["a"]}),
    "a column": lambda: pd.Series([1, None], dtype="Int64"),
    "an object": Anything,
    "a class": lambda: Anything,
    "a class of the library": lambda: dla.HeadDecomposer,
    "a function": lambda: lambda *_: None,
    "a module": lambda: torch.nn.Linear(1, 1),
    "a decomposer": dla.HeadDecomposer,
    "a direction": lambda: dla.Logit(9),
    "a label": lambda: dla.Label("head", 0, 1),
    "a path": lambda: Path("nowhere"),
}
"""Each is made anew, since a generator can be read once."""

_TOLD = (TypeError, ValueError, OSError, dla.DLAError)
_STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_LONGEST = 600


def badly_answered(call: Callable[[Any], Any]) -> dict[str, str]:
    """How a call with each of the values answers some of them badly: with an error from inside, or a page of text.

    A call that gives something is passed over; whether it should is for other tests.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {name: _fault(call, make()) for name, make in ODD.items()}
    return {name: fault for name, fault in found.items() if fault}


def _fault(call: Callable[[Any], Any], value: Any) -> str:
    try:
        call(value)
    except Exception as error:
        told = f"{type(error).__name__}: {str(error)[:200]!r}"
        if isinstance(error, TypeCheckError) or type(error).__module__.startswith("beartype"):
            return ""  # the checker that the suite adds was the first to object
        if not isinstance(error, _TOLD) or isinstance(error, UnicodeError):
            return told
        if not _is_raised_here(traceback.extract_tb(error.__traceback__)[-1]):
            return f"from inside: {told}"
        if len(str(error)) > _LONGEST or _STEERS.search(str(error)):
            return f"too much: {told}"
    return ""


def _is_raised_here(frame: traceback.FrameSummary) -> bool:
    lines = range(frame.lineno or 0, (frame.end_lineno or 0) + 1)
    statement = "".join(linecache.getline(frame.filename, line) for line in lines).strip()
    return frame.filename.startswith(FOLDER) and statement.startswith("raise")
