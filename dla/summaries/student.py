"""Quantiles of Student's t distribution."""

import math
from functools import cache
from statistics import NormalDist

_EXACT = 200


@cache
def student_quantile(p: float, df: int) -> float:
    """The `p`-quantile with `df` degrees of freedom.

    Up to 200 degrees of freedom the distribution function's finite series is inverted by bisection; beyond, four terms
    of the expansion around the normal quantile are right to ten digits.

    Source: Abramowitz, Stegun, "Handbook of mathematical functions", 26.7.3, 26.7.4 and 26.7.5.

    Example:
        >>> round(student_quantile(0.975, 3), 4), round(student_quantile(0.975, 10_000), 4)
        (3.1824, 1.9602)
    """
    if p < 0.5:
        return -student_quantile(1 - p, df)
    return _bisected(p, df) if df <= _EXACT else _expanded(NormalDist().inv_cdf(p), df)


def _bisected(p: float, df: int) -> float:
    # the angle whose tangent is t / √df lies between 0 and a right angle, and its share grows with it
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, df) < 2 * p - 1 else (low, middle)
    return math.sqrt(df) * math.tan((low + high) / 2)


def _within(angle: float, df: int) -> float:
    """P(|T| <= √df · tan(angle))."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = df % 2
    term = cosine if odd else 1.0
    series = 0.0
    for k in range(odd + 1, df, 2):
        series += term
        term *= cosine**2 * k / (k + 1)
    return 2 / math.pi * (angle + sine * series) if odd else sine * series


def _expanded(z: float, df: int) -> float:
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(df) ** k for k, term in enumerate(terms, start=1))
