"""What a process, or a service of several, has measured: the model behind every output."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import index
from typing import Any, NamedTuple

from opentelemetry.sdk.metrics.export import Gauge, Histogram, Metric, MetricsData, Sum
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.quiet import quiet_logger

_logger = quiet_logger(__name__)

COUNTER = "counter"
UP_DOWN_COUNTER = "up_down_counter"
GAUGE = "gauge"
HISTOGRAM = "histogram"

OVERFLOW = '{"otel.metric.overflow":true}'
"""The attributes of the series that has what no other one has, when a metric has reached its limit
of series: https://opentelemetry.io/docs/specs/otel/metrics/sdk/#overflow-attribute."""

Real = int | float
Exemplar = tuple[Real, int, str, str]
"""Value, time in milliseconds since the epoch, trace id and span id, both hexadecimal."""


class Number(NamedTuple):
    """One series of a counter, an up-down counter or a gauge.

    `start` is when it began to count, in milliseconds since the epoch.
    """

    value: Real
    start: int
    exemplars: Sequence[Exemplar] = ()


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


Point = Number | Buckets
Identity = tuple[str, str, int]


@dataclass(slots=True)
class Stream:
    """A metric: its definition, and its points by their attributes, which are written as JSON.

    `ordinal` is 0 but for further metrics of the same scope and name, as an application may have
    with another unit or kind.
    """

    scope: str
    version: str
    schema_url: str
    name: str
    unit: str
    description: str
    kind: str
    bounds: tuple[float, ...]
    ordinal: int = 0
    points: dict[str, Point] = field(default_factory=dict)

    @property
    def identity(self) -> Identity:
        """What it has in common with the same metric of another process."""
        return self.scope, self.name, self.ordinal

    def adds_up_with(self, other: "Stream") -> bool:
        """Whether points of one can be added to points of the other."""
        return self.kind == other.kind and self.bounds == other.bounds


@dataclass(slots=True)
class Snapshot:
    """All streams, and when the process that they are of began to measure."""

    started: int = 0
    streams: dict[Identity, Stream] = field(default_factory=dict)

    def add(
        self, later: "Snapshot", *, ended: bool = False, attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Add what a process has measured that was started later.

        Counters, up-down counters and histograms are summed; of two gauges with the same
        attributes the later one stays. Where the definitions of a metric differ, since the code
        was changed in between, the later one holds; the older points are kept if they can be
        added to points of the later definition.

        Parameters:
            later: The other process's snapshot, which stays as it is.
            ended: The other process has ended: its gauges and up-down counters ended with it.
            attributes: Attributes that its gauges get.
        """
        self.started = max(self.started, later.started)
        for identity, stream in later.streams.items():
            if ended and stream.kind in (GAUGE, UP_DOWN_COUNTER):
                continue
            points = stream.points
            if attributes and stream.kind == GAUGE:
                points = {_with(key, attributes): point for key, point in points.items()}
            own = self.streams.get(identity)
            if own is not None and own.adds_up_with(stream):
                points = _merged(stream.kind, own.points, points)
            self.streams[identity] = replace(stream, points=dict(points))

    def to_json(self) -> str:
        """The snapshot as text that `from_json` reads."""
        streams = [
            [getattr(stream, name) for name in Stream.__slots__] for stream in self.streams.values()
        ]
        return json.dumps([self.started, streams], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Snapshot":
        """The snapshot that `to_json` has written, without the streams that cannot be read.

        Raises:
            ValueError: The text as a whole is not such a snapshot.
        """
        try:
            started, streams = json.loads(text)
            snapshot = cls(int(started))
            for each in streams:
                try:
                    stream = _stream_from_json(each)
                except (TypeError, ValueError, AttributeError) as error:
                    _logger.warning("A metric of another worker cannot be read: %s", error)
                else:
                    snapshot.streams[stream.identity] = stream
        except (TypeError, RecursionError) as error:
            raise ValueError(f"not a snapshot: {error}") from error
        return snapshot


def combined(kind: str, one: Point, other: Point) -> Point:
    """Two points of one series: the sum or, of a gauge, the latter.

    Parameters:
        kind: The kind of their streams, which add up.
    """
    if isinstance(one, Buckets) and isinstance(other, Buckets):
        return Buckets(
            [a + b for a, b in zip(one.counts, other.counts, strict=True)],
            one.sum + other.sum,
            one.total + other.total,
            min(one.min, other.min),
            max(one.max, other.max),
            min(one.start, other.start),
            [*one.exemplars, *other.exemplars],
        )
    if kind == GAUGE or isinstance(one, Buckets) or isinstance(other, Buckets):
        return other
    start = min(one.start, other.start)
    return Number(one.value + other.value, start, [*one.exemplars, *other.exemplars])


def _merged(kind: str, one: Mapping[str, Point], other: Mapping[str, Point]) -> dict[str, Point]:
    result = dict(one)
    for key, point in other.items():
        before = result.get(key)
        result[key] = point if before is None else combined(kind, before, point)
    return result


def attributes_of(key: str) -> dict[str, Any]:
    """The attributes that are written as a point's key."""
    attributes: dict[str, Any] = json.loads(key)
    return attributes


_encode = json.JSONEncoder(sort_keys=True, default=str, separators=(",", ":")).encode


def _key(attributes: Mapping[str, Any] | None) -> str:
    return _encode(dict(attributes or {}))


def _with(key: str, attributes: Mapping[str, Any]) -> str:
    return _key({**attributes_of(key), **attributes})


def _stream_from_json(parts: Sequence[Any]) -> Stream:
    *definition, bounds, ordinal, points = parts
    if not all(isinstance(part, str) for part in definition):
        raise ValueError("its definition is not text")
    scope, version, schema_url, name, unit, description, kind = definition
    bounds = tuple(map(float, bounds))
    stream = Stream(scope, version, schema_url, name, unit, description, kind, bounds, int(ordinal))
    point_of: Callable[..., Point] = Buckets if stream.kind == HISTOGRAM else Number
    for key, parts in points.items():
        point = point_of(*parts)
        if isinstance(point, Buckets):
            numbers = [*point.counts, point.sum, point.total, point.min, point.max]
            good = len(point.counts) == len(stream.bounds) + 1
        else:
            numbers, good = [point.value], stream.kind in (COUNTER, UP_DOWN_COUNTER, GAUGE)
        if not good or any(type(number) not in (int, float) for number in [*numbers, point.start]):
            raise ValueError(f"the points of {stream.name} are not those of a {stream.kind}")
        if not isinstance(attributes_of(key), dict):
            raise ValueError(f"the attributes of {stream.name} are not attributes")
        stream.points[key] = point
    return stream


class Collection:
    """Turns what a metric reader collects into snapshots.

    It remembers from one snapshot to the next since when a series has been there: the SDK gives
    series that are born while it collects, as those of observable instruments are, the time of
    that collection, before which they have counted already. They began after the collection
    before, which did not have them yet.
    """

    def __init__(self) -> None:
        self.started = self._previous = _now()
        self._starts: dict[tuple[Identity, str], int] = {}
        self._overflowed: set[Identity] = set()

    def snapshot(self, data: MetricsData, began: int) -> Snapshot:
        """What has been collected, as a snapshot.

        A value may be any real number (bool, int, float, those of numpy, Decimal, Fraction). A
        point whose value is none is left out, with a log line that names the instrument, and
        so is a kind of metric that Prometheus's text formats do not have.

        Parameters:
            data: Metrics with cumulative temporality.
            began: When the collection began, in milliseconds since the epoch.
        """
        snapshot = Snapshot(self.started)
        for scope, metric in _metrics(data):
            stream = _stream(scope, metric)
            if stream is None:
                continue
            # Several versions of one meter, say, have one metric.
            while own := snapshot.streams.get(stream.identity):
                if own.adds_up_with(stream) and own.unit == stream.unit:
                    break
                stream.ordinal += 1
            else:
                own = snapshot.streams[stream.identity] = stream
            for point in metric.data.data_points:
                try:
                    key = _key(point.attributes)
                    value = self._point(own, key, point, began)
                except (TypeError, ValueError, OverflowError, AttributeError) as error:
                    _logger.warning(
                        "A value of the metric %s of %s is left out: %s",
                        own.name,
                        own.scope,
                        error,
                    )
                    continue
                before = own.points.get(key)
                own.points[key] = value if before is None else combined(own.kind, before, value)
            self._tell_of_overflow(own)
        self._previous = began
        return snapshot

    def _tell_of_overflow(self, stream: Stream) -> None:
        if OVERFLOW in stream.points and stream.identity not in self._overflowed:
            self._overflowed.add(stream.identity)
            _logger.warning(
                "The metric %s has %d series and gets no more: what has other labels is in one "
                "series with the label otel_metric_overflow. Labels should have few values; a "
                "View with aggregation_cardinality_limit raises the limit.",
                stream.name,
                len(stream.points) - 1,
            )

    def _point(self, own: Stream, key: str, point: Any, began: int) -> Point:
        exemplars = [_exemplar(each) for each in point.exemplars if each.trace_id is not None]
        start = 0 if own.kind == GAUGE else point.start_time_unix_nano // 1_000_000
        if start >= began or (own.identity, key) in self._starts:
            start = self._starts.setdefault((own.identity, key), self._previous)
        if own.kind != HISTOGRAM:
            return Number(_real(point.value), start, exemplars)
        return Buckets(
            list(point.bucket_counts),
            _real(point.sum),
            point.count,
            _real(point.min),
            _real(point.max),
            start,
            exemplars,
        )


def _exemplar(exemplar: Any) -> Exemplar:
    return (
        _real(exemplar.value),
        exemplar.time_unix_nano // 1_000_000,
        f"{exemplar.trace_id:032x}",
        f"{exemplar.span_id or 0:016x}",
    )


def _now() -> int:
    return time.time_ns() // 1_000_000


def _metrics(data: MetricsData) -> Iterator[tuple[InstrumentationScope, Metric]]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                yield scope.scope, metric


def _stream(scope: InstrumentationScope, metric: Metric) -> Stream | None:
    bounds: Sequence[float] = ()
    match metric.data:
        case Sum(is_monotonic=monotonic):
            kind = COUNTER if monotonic else UP_DOWN_COUNTER
        case Gauge():
            kind = GAUGE
        case Histogram(data_points=[first, *_]):
            kind = HISTOGRAM
            bounds = first.explicit_bounds
        case other:
            _logger.warning(
                "The metric %s of %s is left out: the Prometheus text format has no %s",
                metric.name,
                scope.name,
                type(other).__name__,
            )
            return None
    return Stream(
        scope.name,
        scope.version or "",
        scope.schema_url or "",
        metric.name,
        metric.unit or "",
        metric.description or "",
        kind,
        tuple(map(float, bounds)),
    )


def _real(value: Any) -> Real:
    """A number of any type as an int or a float.

    Raises:
        TypeError: It is not a real number.
    """
    if type(value) in (int, float):
        real: Real = value
        return real
    try:
        return index(value)
    except TypeError:
        # Text has no __float__, although float() would read it; complex has none either.
        if not hasattr(value, "__float__"):
            raise TypeError(f"{value!r} is not a real number") from None
        return float(value)
