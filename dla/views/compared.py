"""Two results side by side: the columns and lines of every such table."""

from collections.abc import Sequence

from dla.views.grid import Line, signed

COMPARED = ("first", "second", "difference")
"""The columns of a table of two results."""


def compared_lines(
    rows: Sequence[tuple[str, Sequence[float]]], sums: Sequence[tuple[str, Sequence[float]]], columns: int
) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
    """The rows, with a bar for each difference; then the sums that prove them.

    Args:
        rows: The label of each, and its numbers.
        sums: The name of each, and its number in either result.
        columns: How many columns there are.
    """
    lines = tuple(Line(label, tuple(map(signed, numbers)), numbers[2]) for label, numbers in rows)
    blank = [""] * (columns - len(COMPARED))
    proof = tuple(
        Line(name, (signed(first), signed(second), signed(first - second), *blank)) for name, (first, second) in sums
    )
    return lines, proof
