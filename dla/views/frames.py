"""Rows of plain values as a data frame."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas


def frame_of_rows(columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> "pandas.DataFrame":
    """A data frame.

    Args:
        columns: The names of its columns.
        rows: Its rows.
    """
    import pandas  # takes long: only who wants a data frame waits for it

    return pandas.DataFrame(rows, columns=list(columns))
