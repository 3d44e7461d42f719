"""The points of which a snapshot consists, and how they add up."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from telemetry.sdk.safe import Real, bounded


class Sum(float):
    """A sum of floats, and in `rest` what rounding has taken from it.

    So it is the same in whatever order they are added up. A worker that ends moves from one place
    of the service's sum to another. With floats alone the sum would become less by its last bit
    then, which Prometheus takes for a counter that begins at zero.
    """

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


class Exemplar(NamedTuple):
    """One of the values that a point has counted, and the span that it was recorded in.

    https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exemplars

    `bucket` tells which of a point's exemplars take each other's place: the index of the bucket
    that the value is in, and 0 where there are no buckets. `time` is in milliseconds since the
    epoch. `trace` and `span` are hexadecimal ids, empty where there was no span. `attributes`
    are those that a view has left out.
    """

    bucket: int
    value: Real
    time: int
    trace: str
    span: str
    attributes: Mapping[str, Any]


def newest(exemplars: Iterable[Exemplar]) -> Sequence[Exemplar]:
    """The newest exemplar of each bucket, in the order of the buckets."""
    kept: dict[int, Exemplar] = {}
    for each in exemplars:
        before = kept.get(each.bucket)
        if before is None or before.time <= each.time:
            kept[each.bucket] = each
    return [kept[bucket] for bucket in sorted(kept)]


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
        return Number(added(self.value, other.value), start, _newest_of(self, other))


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
        counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        return Buckets(counts, *_summary(self, other))


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
            *_summary(self, other),
        )


def _summary(one: Any, other: Any) -> tuple[Real, int, Real, Real, int, Sequence[Exemplar]]:
    """What histograms of both kinds have: from the sum of all values to the exemplars."""
    return (
        added(one.sum, other.sum),
        one.total + other.total,
        min(one.min, other.min),
        max(one.max, other.max),
        min(one.start, other.start),
        _newest_of(one, other),
    )


def _newest_of(one: "Point", other: "Point") -> Sequence[Exemplar]:
    if not one.exemplars or not other.exemplars:
        return one.exemplars or other.exemplars
    return newest([*one.exemplars, *other.exemplars])


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
