"""A snapshot in Prometheus's protobuf format, which alone has native histograms."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from math import inf
from typing import Any

from telemetry.sdk.exposition import protobuf
from telemetry.sdk.exposition.protobuf import (
    Type,
    double,
    embedded,
    signed,
    timestamp,
    whole,
    zigzag,
)
from telemetry.sdk.exposition.text import (
    TextWriter,
    exemplar_labels,
    label_pairs,
    leave_out,
)
from telemetry.sdk.points import Buckets, Exemplar, Exponential, Number, Point
from telemetry.sdk.safe import attributes as safe_attributes
from telemetry.sdk.snapshot import Identity, Kind, Snapshot, Stream, attributes_of, combined

# The scales that Prometheus has, as schemas.
_MIN_SCALE, _MAX_SCALE = -4, 8
# As most changes from bucket to bucket are.
_SMALL = {number: zigzag(number) for number in range(-64, 64)}
_TYPES = {Kind.COUNTER: Type.COUNTER, Kind.HISTOGRAM: Type.HISTOGRAM}

_Series = tuple[Point, Point, bytes, bytes]
"""A point, the exponential one that it was made of (or the same), labels, and the ready series."""


class NativeWriter:
    """Writes snapshots as text has them, and exponential histograms as native ones as well.

    A Prometheus that does not store native histograms takes the classic buckets beside them.
    """

    def __init__(self) -> None:
        self._text = TextWriter(openmetrics=False)
        self._known: dict[tuple[Identity, str], _Series] = {}

    def write(
        self,
        snapshot: Snapshot,
        classic: Snapshot,
        resource: Mapping[str, Any],
        further: Callable[[Collection[str]], bytes] = lambda _: b"",
    ) -> bytes:
        """The page: as `TextWriter.write`, but also with what `classic` was made of."""
        slices = self.slices(snapshot, classic, resource, further)
        return b"".join(part for parts in slices for part in parts or ())

    def slices(
        self,
        snapshot: Snapshot,
        classic: Snapshot,
        resource: Mapping[str, Any],
        further: Callable[[Collection[str]], bytes],
    ) -> Iterator[Sequence[bytes] | None]:
        """The page in slices, as those of `TextWriter.slices`."""
        about = protobuf.labels(1, label_pairs(safe_attributes(resource)))
        target = protobuf.metric(Type.GAUGE, about, double(1, 1))
        yield [protobuf.family("target_info", "Target metadata", Type.GAUGE, "", [target])]
        kept: dict[tuple[Identity, str], _Series] = {}
        for each in self._text.families(classic):
            first = classic.streams[each.streams[0][0]]
            kind = _TYPES.get(first.kind, Type.GAUGE)
            shown: dict[bytes, tuple[Stream, _Series]] = {}
            for identity, extra, _ in each.streams:
                stream = classic.streams[identity]
                exponential = snapshot.streams[identity]
                for key, point in stream.points.items():
                    native = exponential.points[key]
                    series = self._series(kind, stream, (identity, key), point, native, extra)
                    if series is not self._known.get((identity, key)):
                        yield []
                    kept[identity, key] = series
                    before = shown.get(series[2])
                    if before is not None:
                        if not before[0].adds_up_with(stream):
                            leave_out(stream, each.name)
                            continue
                        series = _combined(kind, exponential, stream, before[1], series)
                    shown[series[2]] = stream, series
            ready = (series[3] for _, series in shown.values())
            yield [protobuf.family(each.sample, first.description, kind, each.unit, ready)]
        self._known = kept
        yield None
        yield [further(self._text.names)]

    def _series(
        self,
        kind: Type,
        stream: Stream,
        key: tuple[Identity, str],
        point: Point,
        native: Point,
        extra: Mapping[str, str],
    ) -> _Series:
        known = self._known.get(key)
        if known is not None and known[0] is point and known[1] is native:
            return known
        reserved = "le" if kind is Type.HISTOGRAM else ""
        pairs = (
            known[2]
            if known
            else protobuf.labels(1, label_pairs(attributes_of(key[1]), extra, reserved=reserved))
        )
        return point, native, pairs, _metric(kind, stream, pairs, point, native)


def _combined(
    kind: Type, exponential: Stream, stream: Stream, before: _Series, series: _Series
) -> _Series:
    pairs = series[2]
    point = combined(stream.kind, before[0], series[0])
    native = combined(exponential.kind, before[1], series[1])
    return point, native, pairs, _metric(kind, stream, pairs, point, native)


def _metric(kind: Type, stream: Stream, pairs: bytes, point: Point, native: Point) -> bytes:
    if isinstance(point, Number):
        value = double(1, point.value)
        if kind is Type.COUNTER:
            value += _exemplars(2, point.exemplars) + timestamp(3, point.start)
        return protobuf.metric(kind, pairs, value)
    value = whole(1, point.total) + double(2, point.sum) + timestamp(15, point.start)
    if isinstance(point, Buckets):
        value += _classic(stream, point)
    if isinstance(native, Exponential):
        value += _native(native)
    return protobuf.metric(kind, pairs, value)


def _classic(stream: Stream, point: Buckets) -> bytes:
    exemplars = {each.bucket: _exemplars(3, [each]) for each in point.exemplars}
    counts = zip(_ends(stream.bounds), accumulate(point.counts), strict=True)
    return b"".join(
        embedded(3, whole(1, count) + end + exemplars.get(index, b""))
        for index, (end, count) in enumerate(counts)
    )


@lru_cache
def _ends(bounds: tuple[float, ...]) -> Sequence[bytes]:
    return [double(2, bound) for bound in (*bounds, inf)]


def _native(point: Exponential) -> bytes:
    """What a native histogram has beside the classic one; nothing at a scale without a schema."""
    point = point.downscaled(_MAX_SCALE)
    if point.scale < _MIN_SCALE:
        return b""
    # A span without buckets tells it from a classic histogram where there are only zeros.
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
