"""A snapshot in Prometheus's protobuf format, which alone has native histograms."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from math import inf

from telemetry.sdk.exposition import protobuf
from telemetry.sdk.exposition.classic import Classic
from telemetry.sdk.exposition.families import Family, FamilyWriter, Labels, exemplar_labels
from telemetry.sdk.exposition.protobuf import (
    Type,
    double,
    embedded,
    signed,
    timestamp,
    whole,
    zigzag,
)
from telemetry.sdk.points import Buckets, Exemplar, Exponential, Number, Point
from telemetry.sdk.snapshot import Kind

# The scales that Prometheus supports; it calls them schemas.
_MIN_SCALE, _MAX_SCALE = -4, 8
# Encoded once, as most differences between neighbouring buckets are that small.
_SMALL = {number: zigzag(number) for number in range(-64, 64)}
_TYPES: dict[str, Type] = {Kind.COUNTER: Type.COUNTER, Kind.HISTOGRAM: Type.HISTOGRAM}


class NativeWriter(FamilyWriter):
    """Writes all that text has, and the native histograms that `ClassicBuckets` keeps.

    A Prometheus that does not store native histograms stores the classic buckets.
    """

    def target(self, labels: Labels) -> bytes:
        """The resource as a family."""
        series = protobuf.metric(Type.GAUGE, self.labels(labels), double(1, 1))
        return protobuf.family("target_info", "Target metadata", Type.GAUGE, "", [series])

    def family(self, family: Family, series: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
        """The message of a family."""
        kind = _TYPES.get(family.kind, Type.GAUGE)
        yield [protobuf.family(family.sample, family.description, kind, family.unit, series)]

    def bounds(self, bounds: Sequence[float]) -> Sequence[bytes]:
        """The field of each bucket's upper bound."""
        return [double(2, bound) for bound in (*bounds, inf)]

    def labels(self, labels: Labels) -> bytes:
        """The fields of labels."""
        return protobuf.labels(1, labels)

    def series(self, family: Family, bounds: Sequence[bytes], labels: bytes, point: Point) -> bytes:
        """The field of a series."""
        kind = _TYPES.get(family.kind, Type.GAUGE)
        if isinstance(point, Number):
            value = double(1, point.value)
            if kind is Type.COUNTER:
                value += _exemplars(2, point.exemplars) + timestamp(3, point.start)
            return protobuf.metric(kind, labels, value)
        value = whole(1, point.total) + double(2, point.sum) + timestamp(15, point.start)
        if isinstance(point, Buckets):
            value += _classic(bounds, point)
        if isinstance(point, Classic):
            value += _native(point.native)
        return protobuf.metric(kind, labels, value)


def _classic(bounds: Sequence[bytes], point: Buckets) -> bytes:
    exemplars = {each.bucket: _exemplars(3, [each]) for each in point.exemplars}
    counts = zip(bounds, accumulate(point.counts), strict=True)
    return b"".join(
        embedded(3, whole(1, count) + bound + exemplars.get(index, b""))
        for index, (bound, count) in enumerate(counts)
    )


def _native(point: Exponential) -> bytes:
    """The fields that a native histogram has in addition, or none if no schema has its scale."""
    point = point.downscaled(_MAX_SCALE)
    if point.scale < _MIN_SCALE:
        return b""
    # Where there are only zeros, an empty span still marks it as a native histogram.
    positive = _side(12, 13, *point.positive) or embedded(12, b"")
    numbers = signed(5, point.scale) + whole(7, point.zeros)
    negative = _side(9, 10, *point.negative)
    return numbers + negative + positive + _exemplars(16, point.exemplars)


def _side(span: int, deltas: int, first: int, counts: Sequence[int]) -> bytes:
    """One span of buckets; Prometheus numbers them by their upper bounds, the SDK by the lower."""
    if not counts:
        return b""
    changes = (count - before for before, count in pairwise((0, *counts)))
    packed = b"".join([_SMALL.get(change) or zigzag(change) for change in changes])
    return embedded(span, signed(1, first + 1) + whole(2, len(counts))) + embedded(deltas, packed)


def _exemplars(field: int, exemplars: Iterable[Exemplar]) -> bytes:
    return b"".join(
        protobuf.exemplar(field, exemplar_labels(each), each.value, each.time) for each in exemplars
    )
