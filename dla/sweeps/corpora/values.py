"""Columns of Python values as Arrow columns."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, final

import numpy as np

from dla.sweeps.parquet import arrow

_INT64 = range(-(2**63), 2**63)


@final
class ColumnKinds:
    """What sorts of values each column holds, seen row by row."""

    def __init__(self) -> None:
        """Starts without columns."""
        self.kinds: dict[str, set[str]] = {}

    def see(self, name: str, value: Any) -> None:
        """Takes one value into account."""
        kinds = self.kinds.setdefault(name, set())
        if value is not None:
            kinds.add(_kind(value))

    def types(self) -> dict[str, str]:
        """The type of each column, as Arrow names it: text where a column holds values of several sorts."""
        return {name: _type(kinds) for name, kinds in self.kinds.items()}


def column_of(values: Sequence[Any], type_: str) -> Any:
    """An Arrow column; in one of text, what is none is written as JSON."""
    if type_ == "string":
        values = [None if value is None else as_text(value) for value in values]
    return arrow().array(values, type_)


def column_of_one_type(values: Iterable[Any]) -> Any:
    """An Arrow column of the type that Arrow finds for all values; None where there is none."""
    pyarrow = arrow()
    try:
        return pyarrow.array(values, from_pandas=True)
    except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError):
        return None


def plain(values: Iterable[Any]) -> list[Any]:
    """Python's own values for those of a data frame; None where there is none."""
    return [None if _missing(value) else value.item() if isinstance(value, np.generic) else value for value in values]


def as_text(value: Any) -> str:
    """A value as text: itself, or as JSON. What UTF-8 cannot hold is escaped."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def absent(value: Any) -> bool:
    """Whether a value stands for nothing: None, or NaN, which is what data frames have in its place."""
    return value is None or value != value


def _missing(value: Any) -> bool:
    known = type(value).__name__ in ("NoneType", "NAType", "NaTType")
    return known or (isinstance(value, float) and absent(value))


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if value in _INT64 else "other"
    return "float64" if isinstance(value, float) else "string" if isinstance(value, str) else "other"


def _type(kinds: set[str]) -> str:
    if kinds and kinds <= {"int64", "float64"}:
        return "float64" if "float64" in kinds else "int64"
    return kinds.copy().pop() if len(kinds) == 1 and "other" not in kinds else "string"
