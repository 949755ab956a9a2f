"""One row of a corpus, and the interface of what reads rows."""

import abc
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from dla.inputs.given import shown


@final
@dataclass(frozen=True, eq=False)
class CorpusRow:
    """A row of a corpus.

    Attributes:
        number: Its place in the corpus, from 0.
        values: Its columns as Python values; empty where it could not be read.
        fault: Why it could not be read; empty where it could.
        stored: The row as its reader keeps it, for `RowReader.table`.
    """

    number: int
    values: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
    stored: Any = None


class RowReader(abc.ABC):
    """Reads the rows of a corpus.

    Law: `rows(start)` gives what follows the first `start` rows of `rows(0)`. A reader can be pickled, and reads the
    same elsewhere, where the files are the same.

    Attributes:
        columns: The names of the columns, as they stand there.
    """

    columns: Sequence[Any]

    @abc.abstractmethod
    def rows(self, start: int) -> Iterator[CorpusRow]:
        """The rows from a place on, one at a time; a row that cannot be read has its fault, and stops nothing."""

    @abc.abstractmethod
    def table(self, rows: Sequence[CorpusRow]) -> Any:
        """An Arrow table of rows that could be read. The types of its columns do not depend on the rows."""


def is_missing(value: Any) -> bool:
    """Whether a value stands for nothing: None, or NaN, which is what data frames have in its place."""
    return value is None or (isinstance(value, float) and value != value)


def value_as_text(value: Any) -> str | None:
    """A value as text: itself, or as JSON; None stays None. What UTF-8 cannot hold is escaped."""
    if value is None:
        return None
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):  # keys that are no text, a whole number of 5,000 digits
        text = shown(value)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def not_utf8(error: UnicodeDecodeError) -> str:
    """Says which byte of a row is not UTF-8."""
    byte = error.object[error.start]
    return f"The row is not UTF-8 (byte 0x{byte:02x} at place {error.start} of its text). Write the file as UTF-8."
