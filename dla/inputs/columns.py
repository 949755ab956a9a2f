"""A column of a corpus in the place of a token."""

from dataclasses import dataclass
from typing import final

from dla.inputs.arguments import name


@final
@dataclass(frozen=True)
class Column:
    """The token that each row of a corpus has in a column, in a direction that a sweep asks.

    Attributes:
        name: The column's. It holds tokens as texts or ids; for a `Continuation`, whole answers.

    Raises:
        TypeError: If the name is no text.
        ValueError: If it is empty.

    Examples:
        >>> Column("answer")
        Column(name='answer')
    """

    name: str

    def __post_init__(self) -> None:
        name(self.name, "A column")
