"""The points of which a snapshot consists, and how they add up."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from math import fsum, isfinite
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


def added(*numbers: Real) -> Real:
    """The sum of numbers, each of which may be a sum already."""
    total = sum(numbers)
    if isinstance(total, int):
        return bounded(total)
    if not isfinite(total):
        return total
    exact = [*numbers, *(each.rest for each in numbers if isinstance(each, Sum))]
    total = fsum(exact)
    return Sum(total, fsum([*exact, -total]))


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

    @classmethod
    def sum_of(cls, points: Iterable["Number"]) -> "Number":
        """The sum of several."""
        values, starts, exemplars = zip(*points, strict=True)
        return cls(added(*values), min(starts), _newest_of(exemplars))


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

    @classmethod
    def sum_of(cls, points: Iterable["Buckets"]) -> "Buckets":
        """The sum of several with the same bounds."""
        counts, *rest = zip(*points, strict=True)
        return cls(list(map(sum, zip(*counts, strict=True))), *_summary(*rest))


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

    @classmethod
    def sum_of(cls, points: Iterable["Exponential"]) -> "Exponential":
        """The sum of several, at the coarsest one's scale. One of zeros only has any scale."""
        points = list(points)
        scale = min((each.scale for each in points if each.total > each.zeros), default=0)
        coarse = (each.downscaled(scale) for each in points)
        _, zeros, positive, negative, *rest = zip(*coarse, strict=True)
        return cls(scale, sum(zeros), _sum(positive), _sum(negative), *_summary(*rest))

    def downscaled(self, scale: int) -> "Exponential":
        """The same at this scale, or at its own where that is coarser, without empty ends."""
        shift = max(0, self.scale - scale)
        positive, negative = _coarser(self.positive, shift), _coarser(self.negative, shift)
        return self._replace(scale=self.scale - shift, positive=positive, negative=negative)

    def octaves(self) -> Mapping[int, int]:
        """How many positive values are up to which power of two, and above the one before.

        By the exponents of the powers. At each scale from 0 up, all powers of two are bounds of
        its own buckets, so that these counts are exact; below 0, it is every second, every fourth.
        """
        coarse = self.downscaled(0)
        first, counts = coarse.positive
        indices = enumerate(counts, first + 1)
        return {index << -coarse.scale: count for index, count in indices if count}


def _summary(
    sums: Sequence[Real],
    totals: Sequence[int],
    least: Sequence[Real],
    most: Sequence[Real],
    starts: Sequence[int],
    exemplars: Sequence[Sequence[Exemplar]],
) -> tuple[Real, int, Real, Real, int, Sequence[Exemplar]]:
    """What histograms of both kinds have: from the sum of all values to the exemplars."""
    return (added(*sums), sum(totals), min(least), max(most), min(starts), _newest_of(exemplars))


def _newest_of(exemplars: Sequence[Sequence[Exemplar]]) -> Sequence[Exemplar]:
    some = [each for each in exemplars if each] or exemplars[:1]
    return some[0] if len(some) == 1 else newest(chain.from_iterable(some))


_Side = tuple[int, Sequence[int]]


def _coarser(side: _Side, shift: int) -> _Side:
    """Buckets of which each is as many as 2 to the power of `shift`, from the first to the last."""
    first, counts = side
    start = first >> shift
    coarse = [0] * (((first + len(counts)) >> shift) - start + 1)
    for index, count in enumerate(counts, first):
        coarse[(index >> shift) - start] += count
    while coarse and not coarse[-1]:
        coarse.pop()
    empty = next((index for index, count in enumerate(coarse) if count), 0)
    return start + empty, coarse[empty:]


def _sum(sides: Iterable[_Side]) -> _Side:
    sides = [side for side in sides if side[1]]
    if not sides:
        return 0, []
    first = min(start for start, _ in sides)
    counts = [0] * (max(start + len(side) for start, side in sides) - first)
    for start, side in sides:
        for index, count in enumerate(side, start - first):
            counts[index] += count
    return first, counts


Point = Number | Buckets | Exponential
