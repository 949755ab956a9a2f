"""Rows that are rejected: their files, and their reasons in a few lines."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import pandas as pd

from dla.sweeps.corpora import CorpusRow, value_as_text
from dla.sweeps.layout import REJECTED
from dla.sweeps.parquet import arrow, read_checked
from dla.text import as_text
from dla.views.files import replacing

_ROWS, _KINDS = 5, 20
"""How many rows are named of each kind of reason, and how many kinds are kept."""

_SHOWN, _LENGTH = 3, 200
"""How many kinds are reported, and in at most how many characters each."""

_OWN = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\([^()]*\)|[-+]?\d[\d.e+-]*")
"""What differs between rows that fail alike: quoted text, what is in brackets, numbers."""


@final
@dataclass(frozen=True)
class RejectedRow:
    """A row of the corpus that is not attributed.

    Attributes:
        source: The row.
        reason: What is wrong with it.
    """

    source: CorpusRow
    reason: str


def rejections(rejected: Iterable[RejectedRow], columns: Sequence[str]) -> Any:
    """The Arrow table of rejected rows, in order: `row`, `reason`, and the corpus' columns as text."""
    ordered, pyarrow = sorted(rejected, key=lambda row: row.source.number), arrow()
    texts = {name: [value_as_text(row.source.values.get(name)) for row in ordered] for name in columns}
    return pyarrow.table(
        {
            "row": pyarrow.array([row.source.number for row in ordered], "int64"),
            "reason": pyarrow.array([row.reason for row in ordered], "string"),
            **{name: pyarrow.array(column, "string") for name, column in texts.items()},
        }
    )


def gather_rejections(folder: Path, columns: Sequence[str], files: Iterable[tuple[str, str]]) -> None:
    """Puts the rejected rows of all shards into one file.

    Args:
        folder: The sweep's.
        columns: The corpus'.
        files: The files, as paths in the folder, and their checksums.

    Raises:
        FileFormatError: If a file is missing, or not what the sweep wrote.
    """
    writer, schema = arrow("parquet").ParquetWriter, rejections([], columns).schema
    with replacing(folder / REJECTED) as unfinished, writer(unfinished, schema, compression="zstd") as gathered:
        for name, expected in files:
            gathered.write_table(read_checked(folder, name, expected, "Delete the folder, and sweep again."))


@final
@dataclass(frozen=True)
class RejectionReason:
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
        text = as_text(" ".join(self.reason.split()))
        text = text if len(text) <= _LENGTH else f"{text[:_LENGTH]}..."
        rows = ", ".join(map(str, self.rows)) + (", ..." if self.count > len(self.rows) else "")
        return f"{self.count} × {text} ({'row' if self.count == 1 else 'rows'} {rows})"


def reasons_of(rejected: pd.DataFrame) -> tuple[RejectionReason, ...]:
    """The reasons of some rows, those of most rows first. Reasons that differ only in what they quote are one.

    Args:
        rejected: What `SweepFolder.rejected` gives.
    """
    kinds = rejected["reason"].map(lambda reason: _OWN.sub("", reason))
    found = [
        RejectionReason(str(group["reason"].iloc[0]), len(group), tuple(map(int, group["row"].iloc[:_ROWS])))
        for _, group in rejected.groupby(kinds, sort=False)
    ]
    return tuple(sorted(found, key=lambda reason: (-reason.count, reason.rows))[:_KINDS])


def reported(reasons: Sequence[RejectionReason]) -> list[str]:
    """A line for each of the first few reasons, and one for the others."""
    more = len(reasons) - _SHOWN
    return [*map(str, reasons[:_SHOWN]), *([f"and {more} more reasons"] if more > 0 else [])]
