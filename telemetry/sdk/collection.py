"""From what the SDK collects to snapshots: the only place where values are made safe."""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import frexp
from operator import index
from typing import Any

from opentelemetry.sdk.metrics.export import (
    ExponentialHistogram,
    Gauge,
    Histogram,
    Metric,
    MetricsData,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.quiet import quiet_logger
from telemetry.sdk.points import Buckets, Exemplar, Exponential, Number, Point, Real, newest
from telemetry.sdk.snapshot import (
    COUNTER,
    EXPONENTIAL,
    GAUGE,
    HISTOGRAM,
    OVERFLOW,
    UP_DOWN_COUNTER,
    Identity,
    Snapshot,
    Stream,
    combined,
    key_of,
)

_logger = quiet_logger(__name__)


class Collection:
    """Turns what a metric reader collects into snapshots.

    It remembers from one snapshot to the next since when a series has been there: the SDK gives
    series that are born while it collects, as those of observable instruments are, the time of
    that collection, before which they have counted already. They began after the collection
    before, which did not have them yet.

    It also keeps the newest exemplar of each bucket, which the SDK forgets once it was collected:
    a worker collects twice a second, and a scrape comes every few seconds.
    """

    def __init__(self) -> None:
        self.started = self._previous = _now()
        self._starts: dict[tuple[Identity, str], int] = {}
        self._exemplars: dict[tuple[Identity, str], Sequence[Exemplar]] = {}
        self._overflowed: set[Identity] = set()

    def snapshot(self, data: MetricsData, began: int) -> Snapshot:
        """What has been collected, as a snapshot.

        A value may be any real number (bool, int, float, those of numpy, Decimal, Fraction). A
        point whose value is none is left out, with a log line that names the instrument.

        Parameters:
            data: Metrics with cumulative temporality.
            began: When the collection began, in milliseconds since the epoch.
        """
        snapshot = Snapshot(self.started)
        exemplars: dict[tuple[Identity, str], Sequence[Exemplar]] = {}
        for scope, metric in _metrics(data):
            stream = _stream(scope, metric)
            # Several versions of one meter, say, have one metric.
            while own := snapshot.streams.get(stream.identity):
                if own.adds_up_with(stream) and own.unit == stream.unit:
                    break
                stream.ordinal += 1
            else:
                own = snapshot.streams[stream.identity] = stream
            for point in metric.data.data_points:
                try:
                    key = key_of(point.attributes)
                    value = self._point(own, key, point, began)
                except (TypeError, ValueError, OverflowError, AttributeError) as error:
                    # Each metric has a line of its own a minute, whatever its values are.
                    named = f"{own.name} of {own.scope}".replace("%", "%%")
                    _logger.warning(f"A value of the metric {named} is left out: %s", error)
                    continue
                before = own.points.get(key)
                value = value if before is None else combined(own.kind, before, value)
                own.points[key] = value
                if value.exemplars:
                    exemplars[own.identity, key] = value.exemplars
            self._tell_of_overflow(own)
        self._previous = began
        self._exemplars = exemplars
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
        exemplars = self._exemplars.get((own.identity, key), [])
        if point.exemplars:
            new = [_exemplar(own, each) for each in point.exemplars]
            exemplars = newest([*exemplars, *new])
        start = 0
        if own.kind != GAUGE:
            start = point.start_time_unix_nano // 1_000_000
            if start >= began or (own.identity, key) in self._starts:
                start = self._starts.setdefault((own.identity, key), self._previous)
        if own.kind not in (HISTOGRAM, EXPONENTIAL):
            return Number(_real(point.value), start, exemplars)
        numbers = (_real(point.sum), point.count, _real(point.min), _real(point.max))
        if own.kind == HISTOGRAM:
            return Buckets(list(point.bucket_counts), *numbers, start, exemplars)
        positive, negative = (
            (side.offset, list(side.bucket_counts)) for side in (point.positive, point.negative)
        )
        return Exponential(
            point.scale, point.zero_count, positive, negative, *numbers, start, exemplars
        )


def _exemplar(stream: Stream, exemplar: Any) -> Exemplar:
    value = _real(exemplar.value)
    bucket = 0
    if stream.kind == HISTOGRAM:
        bucket = bisect_left(stream.bounds, value)
    elif stream.kind == EXPONENTIAL:
        # One for each power of two, however fine the buckets are at present.
        bucket = 2 * frexp(value)[1] + (value < 0)
    in_span = exemplar.trace_id is not None
    return Exemplar(
        bucket,
        value,
        exemplar.time_unix_nano // 1_000_000,
        f"{exemplar.trace_id:032x}" if in_span else "",
        f"{exemplar.span_id or 0:016x}" if in_span else "",
        dict(exemplar.filtered_attributes or {}),
    )


def _now() -> int:
    return time.time_ns() // 1_000_000


def made_safe(data: MetricsData) -> MetricsData:
    """The same data with numbers that every exporter takes, without the points that have none.

    Parameters:
        data: Metrics with any temporality.
    """

    def safe(metric: Metric) -> Metric:
        data: Any = metric.data
        points: list[Any] = []
        for point in data.data_points:
            try:
                points.append(
                    replace(point, value=_real(point.value)) if hasattr(point, "value") else point
                )
            except (TypeError, ValueError, OverflowError) as error:
                _logger.warning("A value of the metric %s is left out: %s", metric.name, error)
        return replace(metric, data=replace(data, data_points=points))

    return MetricsData(
        [
            replace(
                resource,
                scope_metrics=[
                    replace(scope, metrics=[safe(metric) for metric in scope.metrics])
                    for scope in resource.scope_metrics
                ],
            )
            for resource in data.resource_metrics
        ]
    )


def _metrics(data: MetricsData) -> Iterator[tuple[InstrumentationScope, Metric]]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                yield scope.scope, metric


def _stream(scope: InstrumentationScope, metric: Metric) -> Stream:
    bounds: Sequence[float] = ()
    match metric.data:
        case Sum(is_monotonic=monotonic):
            kind = COUNTER if monotonic else UP_DOWN_COUNTER
        case Gauge():
            kind = GAUGE
        case ExponentialHistogram():
            kind = EXPONENTIAL
        case Histogram(data_points=points):
            kind = HISTOGRAM
            bounds = points[0].explicit_bounds if points else ()
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
