"""A plain table in a notebook."""

from collections.abc import Iterable, Sequence

from dla.views.grid import Grid


def html_rows(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Any table of texts, the first column to the left."""
    return Grid.of_rows(title, header, rows).html()
