"""From what the SDK collects to snapshots: the only place where values are made safe."""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from math import frexp
from threading import Lock
from typing import Any

import opentelemetry.sdk.metrics.export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry import batches
from telemetry.compatibility.callbacks import guard_callbacks
from telemetry.compatibility.series import Aggregations, Series
from telemetry.logger import limited_logger
from telemetry.providers import METER
from telemetry.sdk import health
from telemetry.sdk.callbacks import guarded
from telemetry.sdk.points import Buckets, Exemplar, Exponential, Number, Point, newest
from telemetry.sdk.safe import Real, attributes, real, text
from telemetry.sdk.snapshot import OVERFLOW, Identity, Kind, Snapshot, Stream, combined, key_of
from telemetry.sdk.steps import Steps, result_of

_logger = limited_logger(__name__)

# So many series are collected in one step: some 0.1 ms.
_STEP = 16

_Definition = tuple[str, str, str, Kind, tuple[float, ...]]
"""What metrics have in common whose points can be added up, unless they are of two scopes."""


class _View:
    """What was collected last of one view of an instrument, by the index of each series."""

    def __init__(self, instrument: Any, view: Any) -> None:
        self.series = Series(instrument, view)
        # Its definition, which is known with the first point.
        self.stream: Stream | None = None
        self.keys: list[str] = []
        self.points: list[Point | None] = []
        # By key, until one of them changes.
        self.shown: dict[str, Point] | None = None


class Collection:
    """Turns what a metric reader collects into snapshots.

    It remembers from one snapshot to the next since when a series has been there: the SDK gives
    series that are born while it collects, as those of observable instruments are, the time of
    that collection, before which they have counted already. They began after the collection
    before, which did not have them yet. It also keeps the newest exemplar of each bucket, which
    the SDK forgets once it was collected: a worker collects twice a second.

    Points and streams that are as they were in the snapshot before are the same objects.
    """

    def __init__(self) -> None:
        self.started = self._previous = time.time_ns() // 1_000_000
        self._starts: dict[tuple[_Definition, str], int] = {}
        self._streams: dict[_Definition, Stream] = {}
        self._views: dict[Any, _View] = {}
        self._told: set[tuple[str, Identity]] = set()
        self._lock = Lock()
        guard_callbacks(guarded)

    def snapshot(self, data: sdk.MetricsData, began: int) -> Snapshot:
        """What has been collected, with cumulative temporality, since a time in milliseconds.

        A value may be any real number (bool, int, float, those of numpy, Decimal, Fraction); other
        points are left out. Points whose attributes are the same once made safe are added up.
        """
        found: list[tuple[Stream, dict[str, Point]]] = []
        for scope, metric in _metrics(data):
            stream, series = _stream(scope, metric), list[tuple[str, Point | None]]()
            last = self._streams.get(_definition(stream), stream).points
            for point in metric.data.data_points:
                try:
                    key = key_of(attributes(point.attributes))
                    series.append((key, self._point(stream, key, point, began, last.get(key))))
                except Exception as error:
                    _leave_out(stream, error)
            found.append((stream, _summed(stream.kind, series)))
        return self._assembled(found, began)

    def direct(self, aggregations: Aggregations, began: int) -> Steps[Snapshot]:
        """The same from the SDK's aggregations, without those that nothing was recorded in since.

        It may be asked for by several at once, whose steps then alternate.
        """
        # Otherwise a callback records all of it at once, which takes milliseconds.
        for _ in batches.flush():
            yield False
        for instrument in aggregations.asynchronous():
            yield instrument.instrumentation_scope.name != METER or aggregations.lock.locked()
            with aggregations.lock:
                try:
                    aggregations.observe(instrument)
                finally:
                    # What the callbacks tell the next time would be added to it.
                    for view in self._known(aggregations.views(instrument)):
                        result_of(self._collect(view, began))
        yield False
        for view in self._known(aggregations.views()):
            if view.series.is_synchronous:
                yield from self._collect(view, began)
        with self._lock:
            # In the SDK's order.
            by_scope: dict[InstrumentationScope, list[tuple[Stream, dict[str, Point]]]] = {}
            for view in self._known(aggregations.views()):
                if view.shown is None and view.stream is not None:
                    series = zip(view.keys, view.points, strict=True)
                    view.shown = _summed(view.stream.kind, series)
                if view.shown and view.stream is not None:
                    by_scope.setdefault(view.series.scope, []).append((view.stream, view.shown))
            return self._assembled(chain.from_iterable(by_scope.values()), began)

    def _known(self, views: Iterable[tuple[Any, Any]]) -> Sequence[_View]:
        for instrument, view in views:
            if view not in self._views:
                self._views[view] = _View(instrument, view)
        return [self._views[view] for _, view in views]

    def _collect(self, view: _View, began: int) -> Steps[None]:
        changed = view.series.changed()
        while some := list(islice(changed, _STEP)):
            with self._lock:
                for index, aggregation in some:
                    if index == len(view.points):
                        view.keys.append("")
                        view.points.append(None)
                    point = self._next(view, index, aggregation, began)
                    if point is not view.points[index]:
                        view.points[index] = point
                        view.shown = None
            yield False

    def _next(self, view: _View, index: int, aggregation: Any, began: int) -> Point | None:
        """The point of a series that may have changed."""
        before = view.points[index]
        try:
            new = view.series.collect(index, aggregation, before is not None)
        except Exception as error:
            # The SDK's own, as where it cannot merge the scales of an exponential histogram.
            _leave_out(view.stream or view.series, error)
            return before
        if new is None:
            return None
        stream = view.stream = view.stream or _stream(view.series.scope, view.series.metric(new))
        try:
            if before is not None and type(new) is tuple:
                if len(new) == 1:
                    return Number(self._number(stream, new[0]), before.start, before.exemplars)
                counts, total, least, most = new
                numbers = real(total), sum(counts), real(least), real(most)
                return Buckets(counts, *numbers, before.start, before.exemplars)
            key = view.keys[index] = view.keys[index] or key_of(attributes(new.attributes))
            point = self._point(stream, key, new, began, before)
        except Exception as error:
            _leave_out(stream, error)
            return None
        return before if before == point else point

    def _assembled(self, found: Iterable[tuple[Stream, dict[str, Point]]], began: int) -> Snapshot:
        """The snapshot of streams; several versions of one meter, say, may have one together."""
        together: dict[_Definition, tuple[Stream, dict[str, Point]]] = {}
        for stream, points in found:
            definition = _definition(stream)
            if definition in together:
                stream, others = together[definition]
                points = _summed(stream.kind, chain(others.items(), points.items()))
            if points:
                together[definition] = stream, points
        snapshot, streams = Snapshot(self.started), self._streams
        self._streams = {}
        for definition, (stream, points) in together.items():
            own = replace(stream, points=points)
            while own.identity in snapshot.streams:
                own.ordinal += 1
            last = streams.get(definition)
            if last is not None and last.points is not points:
                for key, point in points.items():
                    before = last.points.get(key)
                    if before is not point and before == point:
                        points[key] = before
            own = last if last == own else own
            self._streams[definition] = snapshot.streams[own.identity] = own
            self._tell_of_overflow(own)
        self._previous = began
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

    def _number(self, stream: Stream, value: Any) -> Real:
        number = real(value)
        if isinstance(value, int) and isinstance(number, float) and self._is_new("rounded", stream):
            _logger.warning(f"Integers of the metric {stream.name}, of over 64 bits, are rounded")
        return number

    def _point(
        self, stream: Stream, key: str, point: Any, began: int, before: Point | None
    ) -> Point:
        exemplars = before.exemplars if before is not None else []
        if point.exemplars:
            new = [_exemplar(stream, each) for each in point.exemplars]
            exemplars = newest([*exemplars, *new])
        start = 0
        if stream.kind != Kind.GAUGE:
            start, place = point.start_time_unix_nano // 1_000_000, (_definition(stream), key)
            if start >= began:
                start = self._starts.setdefault(place, self._previous)
            start = min(start, self._starts.get(place, start))
        if stream.kind not in (Kind.HISTOGRAM, Kind.EXPONENTIAL):
            return Number(self._number(stream, point.value), start, exemplars)
        numbers = (real(point.sum), point.count, real(point.min), real(point.max))
        if stream.kind == Kind.HISTOGRAM:
            return Buckets(list(point.bucket_counts), *numbers, start, exemplars)
        positive, negative = (
            (side.offset, list(side.bucket_counts)) for side in (point.positive, point.negative)
        )
        return Exponential(
            point.scale, point.zero_count, positive, negative, *numbers, start, exemplars
        )


def _summed(kind: Kind, series: Iterable[tuple[str, Point | None]]) -> dict[str, Point]:
    """Points by their keys; those that have the same key are added up."""
    points: dict[str, Point] = {}
    for key, point in series:
        if point is not None:
            other = points.get(key)
            points[key] = point if other is None else combined(kind, other, point)
    return points


def _definition(stream: Stream) -> _Definition:
    return stream.scope, stream.name, stream.unit, stream.kind, stream.bounds


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


def _leave_out(metric: Stream | sdk.Metric | Series, error: Exception) -> None:
    health.dropped("invalid_value")
    # Each metric has a line of its own a minute, whatever its values are.
    scope = f" of {metric.scope}" if isinstance(metric, Stream) else ""
    named = f"{metric.name}{scope}".replace("%", "%%")
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
                _leave_out(metric, error)
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
