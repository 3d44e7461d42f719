"""From what the SDK collects to snapshots: the only place where values are made safe."""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import frexp
from typing import Any

import opentelemetry.sdk.metrics.export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.compatibility import guard_callbacks
from telemetry.logger import limited_logger
from telemetry.sdk import health
from telemetry.sdk.callbacks import guarded
from telemetry.sdk.points import Buckets, Exemplar, Exponential, Number, Point, newest
from telemetry.sdk.safe import attributes, real, text
from telemetry.sdk.snapshot import OVERFLOW, Identity, Kind, Snapshot, Stream, combined, key_of

_logger = limited_logger(__name__)


class Collection:
    """Turns what a metric reader collects into snapshots.

    It remembers from one snapshot to the next since when a series has been there: the SDK gives
    series that are born while it collects, as those of observable instruments are, the time of
    that collection, before which they have counted already. They began after the collection
    before, which did not have them yet. It also keeps the newest exemplar of each bucket, which
    the SDK forgets once it was collected: a worker collects twice a second.
    """

    def __init__(self) -> None:
        self.started = self._previous = time.time_ns() // 1_000_000
        self._starts: dict[tuple[Identity, str], int] = {}
        self._exemplars: dict[tuple[Identity, str], Sequence[Exemplar]] = {}
        # The SDK has one mapping of attributes for as long as a series is there.
        self._keys: dict[int, tuple[Any, str]] = {}
        self._told: set[tuple[str, Identity]] = set()
        guard_callbacks(guarded)

    def snapshot(self, data: sdk.MetricsData, began: int) -> Snapshot:
        """What has been collected, with cumulative temporality, since a time in milliseconds.

        A value may be any real number (bool, int, float, those of numpy, Decimal, Fraction); other
        points are left out. Points whose attributes are the same once made safe are added up.
        """
        snapshot = Snapshot(self.started)
        exemplars: dict[tuple[Identity, str], Sequence[Exemplar]] = {}
        keys: dict[int, tuple[Any, str]] = {}
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
                given = point.attributes
                try:
                    known = self._keys.get(id(given)) or (given, key_of(attributes(given)))
                    keys[id(given)], key = known, known[1]
                    value = self._point(own, key, point, began)
                except Exception as error:
                    _leave_out(f"{own.name} of {own.scope}", error)
                    continue
                before = own.points.get(key)
                value = value if before is None else combined(own.kind, before, value)
                own.points[key] = value
                if value.exemplars:
                    exemplars[own.identity, key] = value.exemplars
            self._tell_of_overflow(own)
            if not own.points:
                del snapshot.streams[own.identity]
        self._previous = began
        self._exemplars, self._keys = exemplars, keys
        return snapshot

    def _tell_of_overflow(self, stream: Stream) -> None:
        if OVERFLOW in stream.points and self._is_new("overflow", stream):
            _logger.warning(
                f"The metric {stream.name} has {len(stream.points) - 1} series and gets no more: "
                "what has other labels is in one series with the label otel_metric_overflow. "
                "Labels should have few values; a View with aggregation_cardinality_limit raises "
                "the limit."
            )

    def _is_new(self, told: str, stream: Stream) -> bool:
        """Whether this has not been told of the metric yet. It then has."""
        before = len(self._told)
        self._told.add((told, stream.identity))
        return len(self._told) > before

    def _point(self, own: Stream, key: str, point: Any, began: int) -> Point:
        exemplars = self._exemplars.get((own.identity, key), [])
        if point.exemplars:
            new = [_exemplar(own, each) for each in point.exemplars]
            exemplars = newest([*exemplars, *new])
        start = 0
        if own.kind != Kind.GAUGE:
            start = point.start_time_unix_nano // 1_000_000
            if start >= began or (own.identity, key) in self._starts:
                start = self._starts.setdefault((own.identity, key), self._previous)
        if own.kind not in (Kind.HISTOGRAM, Kind.EXPONENTIAL):
            value = real(point.value)
            rounded = isinstance(point.value, int) and isinstance(value, float)
            if rounded and self._is_new("rounded", own):
                _logger.warning(f"Integers of the metric {own.name}, of over 64 bits, are rounded")
            return Number(value, start, exemplars)
        numbers = (real(point.sum), point.count, real(point.min), real(point.max))
        if own.kind == Kind.HISTOGRAM:
            return Buckets(list(point.bucket_counts), *numbers, start, exemplars)
        positive, negative = (
            (side.offset, list(side.bucket_counts)) for side in (point.positive, point.negative)
        )
        return Exponential(
            point.scale, point.zero_count, positive, negative, *numbers, start, exemplars
        )


def _exemplar(stream: Stream, exemplar: Any) -> Exemplar:
    value = real(exemplar.value)
    bucket = 0
    if stream.kind == Kind.HISTOGRAM:
        bucket = bisect_left(stream.bounds, value)
    elif stream.kind == Kind.EXPONENTIAL:
        # One for each power of two, however fine the buckets are at present.
        bucket = 2 * frexp(value)[1] + (value < 0)
    in_span = exemplar.trace_id is not None
    return Exemplar(
        bucket,
        value,
        exemplar.time_unix_nano // 1_000_000,
        f"{exemplar.trace_id:032x}" if in_span else "",
        f"{exemplar.span_id or 0:016x}" if in_span else "",
        attributes(exemplar.filtered_attributes),
    )


def _leave_out(named: str, error: Exception) -> None:
    health.dropped("invalid_value")
    # Each metric has a line of its own a minute, whatever its values are.
    named = named.replace("%", "%%")
    _logger.warning(f"A value of the metric {named} is left out: %s", error)


def made_safe(data: sdk.MetricsData) -> sdk.MetricsData:
    """Metrics of any temporality as every exporter takes them, without what none can carry."""
    return sdk.MetricsData(
        [
            sdk.ResourceMetrics(
                Resource(attributes(each.resource.attributes), each.resource.schema_url),
                [_safe_scope_metrics(of_scope) for of_scope in each.scope_metrics],
                each.schema_url,
            )
            for each in data.resource_metrics
        ]
    )


def _safe_scope_metrics(given: sdk.ScopeMetrics) -> sdk.ScopeMetrics:
    scope, metrics = _safe_scope(given.scope), list(_safe_metrics(given.metrics))
    return replace(given, scope=scope, metrics=metrics)


def _safe_scope(scope: InstrumentationScope) -> InstrumentationScope:
    return InstrumentationScope(text(scope.name), text(scope.version), text(scope.schema_url))


def _safe_metrics(metrics: Iterable[sdk.Metric]) -> Iterator[sdk.Metric]:
    for metric in metrics:
        points = list[Any]()
        for point in metric.data.data_points:
            try:
                points.append(_safe_point(point))
            except Exception as error:
                _leave_out(metric.name, error)
        if points:
            name, description = text(metric.name), text(metric.description)
            data: Any = metric.data
            data = replace(data, data_points=points)
            yield replace(metric, name=name, description=description, data=data)


def _safe_point(point: Any) -> Any:
    numbers = [name for name in ("value", "sum", "min", "max") if hasattr(point, name)]
    safe: dict[str, Any] = {name: real(getattr(point, name)) for name in numbers}
    safe["exemplars"] = [
        replace(
            each, value=real(each.value), filtered_attributes=attributes(each.filtered_attributes)
        )
        for each in point.exemplars or ()
    ]
    return replace(point, attributes=attributes(point.attributes), **safe)


def _metrics(data: sdk.MetricsData) -> Iterator[tuple[InstrumentationScope, sdk.Metric]]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                yield scope.scope, metric


def _stream(scope: InstrumentationScope, metric: sdk.Metric) -> Stream:
    bounds: Sequence[float] = ()
    match metric.data:
        case sdk.Sum(is_monotonic=monotonic):
            kind = Kind.COUNTER if monotonic else Kind.UP_DOWN_COUNTER
        case sdk.Gauge():
            kind = Kind.GAUGE
        case sdk.ExponentialHistogram():
            kind = Kind.EXPONENTIAL
        case sdk.Histogram(data_points=points):
            kind = Kind.HISTOGRAM
            bounds = points[0].explicit_bounds if points else ()
    return Stream(
        text(scope.name),
        text(scope.version),
        text(scope.schema_url),
        text(metric.name),
        text(metric.unit),
        text(metric.description),
        kind,
        tuple(map(float, bounds)),
    )
