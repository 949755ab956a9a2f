"""A plain table in a notebook."""

from collections.abc import Iterable, Sequence

from dla.views.grid import Grid


def html_rows(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts; the first column is aligned left.

    Args:
        title: The line above the table.
        header: The names of the columns.
        rows: The rows.
    """
    return Grid.of_rows(title, header, rows).html()
