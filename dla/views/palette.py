"""The two colours of a sign, the same in a table, a notebook, a plot and the page."""

POSITIVE, NEGATIVE = "#0072b2", "#d55e00"
"""Blue and vermilion. Either has a contrast of at least 3:1 on white and on #111, and they differ for the colour-blind.

Source: Okabe and Ito 2008, "Color Universal Design".
"""

NEUTRAL = "#8a8a8a"
"""What has no sign: totals, rules, the rest."""

INK, PALE = "#222222", "#ececf0"
"""What is written, and drawn beside what has a sign, on white and on `DARK`."""

DARK = "#111111"
"""The dark background."""

GROUPS = ("#009e73", "#a64d9b", "#a67c00", "#7a86c8", "#7d8b3a")
"""The colours of groups, none of which is that of a sign; contrast as that of the signs."""

UP, DOWN = "▲", "▼"
"""The signs where colours cannot be seen."""


def colour_of(value: float) -> str:
    """The colour of a number's sign; zero and NaN have none."""
    if value > 0:
        return POSITIVE
    return NEGATIVE if value < 0 else NEUTRAL


def mark_of(value: float) -> str:
    """The mark of a number's sign; zero and NaN have none."""
    if value > 0:
        return UP
    return DOWN if value < 0 else ""
