"""Sums of floats that are the same in whatever order they are added up.

A worker that ends moves from one place of the service's sum to another. With floats alone the sum
would become less by its last bit then, which Prometheus takes for a counter that begins at zero.
"""

from math import isfinite

from telemetry.sdk.safe import Real, bounded


class Sum(float):
    """A sum of floats, and in `rest` what rounding has taken from it."""

    __slots__ = ("rest",)
    rest: float

    def __new__(cls, rounded: float, rest: float) -> "Sum":
        """Move as much as possible of the rest into the sum."""
        total = rounded + rest
        self = super().__new__(cls, total)
        self.rest = rest - (total - rounded)
        return self


def added(one: Real, other: Real) -> Real:
    """The sum of two numbers, either of which may be a sum already."""
    total = one + other
    if isinstance(total, int):
        return bounded(total)
    if not isfinite(total):
        return total
    # Knuth's two-sum: what adding these two floats has cost.
    part = total - one
    lost = (one - (total - part)) + (other - part)
    return Sum(total, lost + getattr(one, "rest", 0.0) + getattr(other, "rest", 0.0))
