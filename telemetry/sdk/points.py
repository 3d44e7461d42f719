"""The points of which a snapshot consists, and how they add up."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Real = int | float
Exemplar = tuple[Real, int, str, str, Mapping[str, Any]]
"""Value, time in milliseconds since the epoch, trace id and span id, both hexadecimal, and the
attributes that a view has left out."""


class Number(NamedTuple):
    """One series of a counter, an up-down counter or a gauge.

    `start` is when it began to count, in milliseconds since the epoch.
    """

    value: Real
    start: int
    exemplars: Sequence[Exemplar] = ()

    def plus(self, other: "Number") -> "Number":
        """The sum of two."""
        start = min(self.start, other.start)
        return Number(self.value + other.value, start, [*self.exemplars, *other.exemplars])


class Buckets(NamedTuple):
    """One series of a histogram: as many `counts` as there are bounds, and one for above them.

    `total` is the number of all values.
    """

    counts: Sequence[int]
    sum: Real
    total: int
    min: Real
    max: Real
    start: int
    exemplars: Sequence[Exemplar] = ()

    def plus(self, other: "Buckets") -> "Buckets":
        """The sum of two with the same bounds."""
        return Buckets(
            [a + b for a, b in zip(self.counts, other.counts, strict=True)],
            self.sum + other.sum,
            self.total + other.total,
            min(self.min, other.min),
            max(self.max, other.max),
            min(self.start, other.start),
            [*self.exemplars, *other.exemplars],
        )


class Exponential(NamedTuple):
    """One series of an exponential histogram: buckets of which each is so much wider than the last.

    `positive` and `negative` are the index of the first bucket and the counts from there on:
    https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram.
    """

    scale: int
    zeros: int
    positive: tuple[int, Sequence[int]]
    negative: tuple[int, Sequence[int]]
    sum: Real
    total: int
    min: Real
    max: Real
    start: int
    exemplars: Sequence[Exemplar] = ()

    def plus(self, other: "Exponential") -> "Exponential":
        """The sum of two, at the coarser one's scale."""
        scale = min(self.scale, other.scale)
        shifts = (self.scale - scale, other.scale - scale)
        return Exponential(
            scale,
            self.zeros + other.zeros,
            _sum((self.positive, other.positive), shifts),
            _sum((self.negative, other.negative), shifts),
            self.sum + other.sum,
            self.total + other.total,
            min(self.min, other.min),
            max(self.max, other.max),
            min(self.start, other.start),
            [*self.exemplars, *other.exemplars],
        )


def _sum(
    sides: Sequence[tuple[int, Sequence[int]]], shifts: Sequence[int]
) -> tuple[int, Sequence[int]]:
    counts = Counter[int]()
    for (first, side), shift in zip(sides, shifts, strict=True):
        for index, count in enumerate(side, first):
            counts[index >> shift] += count
    if not counts:
        return 0, []
    return min(counts), [counts[index] for index in range(min(counts), max(counts) + 1)]


Point = Number | Buckets | Exponential
