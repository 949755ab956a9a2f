"""The bars of a table: the side of a centre says the sign, where there are both signs."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Bars:
    """Bars on one scale.

    Attributes:
        span: The value of a bar that fills the width: from the smallest value, or zero, to the largest, or zero.
        centre: Where zero lies, as a share of the width.
    """

    span: float
    centre: float

    @staticmethod
    def of(values: Iterable[float]) -> "Bars":
        """The scale of some values; those that are not finite have no bar."""
        known = [value for value in values if math.isfinite(value)]
        below, above = -min(0.0, *known, 0.0), max(0.0, *known, 0.0)
        span = (below + above) or 1.0
        return Bars(span, below / span)

    def place(self, value: float | None, width: int) -> tuple[float, float]:
        """Where a bar begins, and how long it is.

        Args:
            value: Its value; None for no bar.
            width: How much room all bars have.
        """
        zero = self.centre * width
        if value is None or not math.isfinite(value):
            return zero, 0.0
        length = width * abs(value) / self.span
        return (zero - length if value < 0 else zero), length
