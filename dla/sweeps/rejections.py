"""Rows that are rejected: their table, and the reasons in a few lines."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import pandas as pd

from dla.sweeps.corpora import CorpusRow, as_text
from dla.sweeps.parquet import arrow

_ROWS = 5
"""How many rows are named of each kind of reason."""

_KINDS = 20
"""How many kinds of reasons are kept."""

_SHOWN = 3
"""How many of them are told, and in at most `_LENGTH` characters each."""

_LENGTH = 200

_OWN = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\([^()]*\)|[-+]?\d[\d.e+-]*")
"""What differs between rows that fail alike: quoted text, what is in brackets, numbers."""


@final
@dataclass(frozen=True)
class RejectedRow:
    """A row of the corpus that is not attributed.

    Attributes:
        number: Its place in the corpus.
        reason: What is wrong with it.
        texts: Its columns as text; none where it could not be read.
    """

    number: int
    reason: str
    texts: Mapping[str, str | None]

    @staticmethod
    def of(row: CorpusRow, reason: str) -> "RejectedRow":
        """A row, rejected for that reason."""
        return RejectedRow(row.number, reason, {name: as_text(value) for name, value in row.values.items()})


def rejections(rejected: Sequence[RejectedRow], columns: Sequence[str]) -> Any:
    """The table of rejected rows."""
    pyarrow, ordered = arrow(), sorted(rejected, key=lambda row: row.number)
    own = {
        "row": pyarrow.array([row.number for row in ordered], "int64"),
        "reason": pyarrow.array([row.reason for row in ordered], "string"),
    }
    texts = {name: pyarrow.array([row.texts.get(name) for row in ordered], "string") for name in columns}
    return pyarrow.table({**own, **texts})


@final
@dataclass(frozen=True)
class Reason:
    """Why some rows were rejected.

    Attributes:
        reason: What is said of the first of them.
        count: How many there are.
        rows: The first few of their places in the corpus.
    """

    reason: str
    count: int
    rows: tuple[int, ...]

    def __str__(self) -> str:
        text = " ".join(self.reason.split())
        text = text if len(text) <= _LENGTH else f"{text[:_LENGTH]}..."
        more = ", ..." if self.count > len(self.rows) else ""
        return f"{self.count} × {text} ({_of_rows(self.count)} {', '.join(map(str, self.rows))}{more})"


def reasons_of(rejected: pd.DataFrame) -> tuple[Reason, ...]:
    """The reasons of some rows, those of most rows first. Reasons that differ only in what they quote are one.

    Args:
        rejected: What `SweepFolder.rejected` gives.
    """
    kinds = rejected["reason"].map(lambda reason: _OWN.sub("", reason))
    groups = [group for _, group in rejected.groupby(kinds, sort=False)]
    found = [
        Reason(str(group["reason"].iloc[0]), len(group), tuple(map(int, group["row"].iloc[:_ROWS]))) for group in groups
    ]
    return tuple(sorted(found, key=lambda reason: (-reason.count, reason.rows))[:_KINDS])


def reasons_from(told: Iterable[Any]) -> tuple[Reason, ...]:
    """Reasons, as JSON has them."""
    return tuple(Reason(each["reason"], each["count"], tuple(each["rows"])) for each in told)


def told(reasons: Sequence[Reason]) -> list[str]:
    """A line for each of the first few reasons, and one for the others."""
    rest = f"and {len(reasons) - _SHOWN} more reasons" if len(reasons) > _SHOWN else ""
    return [*map(str, reasons[:_SHOWN]), *([rest] if rest else [])]


def _of_rows(count: int) -> str:
    return "row" if count == 1 else "rows"
