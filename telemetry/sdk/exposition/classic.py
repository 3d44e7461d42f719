"""Exponential histograms as classic buckets, the only ones that text has."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf, ldexp
from typing import Any

from telemetry.sdk.points import Buckets, Exponential, newest
from telemetry.sdk.snapshot import Identity, Kind, Snapshot, Stream
from telemetry.sdk.steps import Steps, result_of

# Exponents of bounds that all series of a unit have: `sum by (le)` is wrong where some series lack
# a bound. The first bound is one below: durations have those from 1 ms to 16 s.
_ALWAYS = {"s": (-9, 4)}


class Classic(Buckets):
    """Classic buckets, and the exponential histogram that they were made of."""

    native: Exponential

    @classmethod
    def sum_of(cls, points: Iterable[Buckets]) -> Buckets:
        """The sum of several: without a native histogram where one of them has none."""
        points = list(points)
        total = Buckets.sum_of(points)
        natives = [each.native for each in points if isinstance(each, Classic)]
        if len(natives) < len(points):
            return total
        return _with_native(total, Exponential.sum_of(natives))


def _with_native(buckets: Buckets, native: Exponential) -> Classic:
    classic = Classic(*buckets)
    classic.native = native
    return classic


@dataclass(slots=True)
class _Known:
    """A stream, the counts of its points by powers of two, and the classic stream made of it."""

    stream: Stream
    octaves: dict[str, Mapping[int, int]]
    classic: Stream


class ClassicBuckets:
    """Makes classic buckets of exponential ones, with powers of two as bounds, which is exact.

    The bounds of a metric enclose all values that it has had, so that bounds are only ever added.
    Points and streams that have not changed stay the same objects.
    """

    def __init__(self) -> None:
        self._known: dict[Identity, _Known] = {}

    def of(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot without exponential histograms."""
        return result_of(self.steps(snapshot))

    def steps(self, snapshot: Snapshot) -> Steps[Snapshot]:
        """The same in steps, none of which blocks."""
        streams = dict(snapshot.streams)
        for identity, stream in snapshot.streams.items():
            if stream.kind == Kind.EXPONENTIAL:
                known = self._known.get(identity)
                if known is None or known.stream is not stream:
                    known = self._known[identity] = _classic(stream, known)
                    yield False
                streams[identity] = known.classic
        return Snapshot(snapshot.started, streams)


def _classic(stream: Stream, before: _Known | None) -> _Known:
    empty = stream.with_points({})
    known = before or _Known(empty, {}, empty)
    points: Mapping[str, Any] = stream.points
    same = {key for key, point in points.items() if known.stream.points.get(key) is point}
    octaves = {
        key: known.octaves[key] if key in same else point.octaves() for key, point in points.items()
    }
    bounds = _bounds(stream, octaves)
    kept = known.classic.points if bounds == known.classic.bounds else {}
    classic = {
        key: kept[key] if key in same and key in kept else _buckets(point, octaves[key], bounds)
        for key, point in points.items()
    }
    made = replace(stream, kind=Kind.HISTOGRAM, bounds=bounds, points=classic)
    return _Known(stream, octaves, made)


def _bounds(stream: Stream, octaves: Mapping[str, Mapping[int, int]]) -> tuple[float, ...]:
    exponents = {exponent for each in octaves.values() for exponent in each}
    exponents.update(_ALWAYS.get(stream.unit, ()))
    if not exponents:
        return ()
    points: Mapping[str, Any] = stream.points
    # Below scale 0, a point has not every power of two.
    step = 1 << -min([0, *(point.scale for point in points.values())])
    first, last = min(exponents) // step - 1, -(-max(exponents) // step)
    powers = (_power(index * step) for index in range(first, last + 1))
    return tuple(power for power in powers if power < inf)


def _buckets(point: Exponential, octaves: Mapping[int, int], bounds: tuple[float, ...]) -> Buckets:
    counts = [0] * (len(bounds) + 1)
    for exponent, count in octaves.items():
        counts[bisect_left(bounds, _power(exponent))] += count
    # Zeros, and what is below.
    counts[0] += point.total - sum(counts)
    exemplars = [each._replace(bucket=bisect_left(bounds, each.value)) for each in point.exemplars]
    numbers = point.sum, point.total, point.min, point.max, point.start
    return _with_native(Buckets(counts, *numbers, newest(exemplars)), point)


def _power(exponent: int) -> float:
    return ldexp(1.0, exponent) if exponent < 1024 else inf
