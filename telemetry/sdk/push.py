"""Pushing what the whole service has measured, from one of its processes."""

from collections.abc import Callable
from time import time_ns
from typing import Any

import opentelemetry.sdk.metrics.export as sdk
from opentelemetry.sdk.metrics import Exemplar as SdkExemplar
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.compatibility.callbacks import guard_callbacks
from telemetry.compatibility.exporters import can_send_no_recorded_value, when_an_export_fails
from telemetry.compatibility.readers import redirect
from telemetry.logger import limited_logger
from telemetry.sdk import health
from telemetry.sdk.callbacks import guarded
from telemetry.sdk.collection import made_safe
from telemetry.sdk.points import Buckets, Exponential, Number, Point
from telemetry.sdk.safe import attributes
from telemetry.sdk.service import Reading, Service
from telemetry.sdk.snapshot import Kind, Snapshot, Stream, attributes_of

_logger = limited_logger(__name__)

_CUMULATIVE = sdk.AggregationTemporality.CUMULATIVE


class NoRecordedValues(sdk.MetricsData):
    """Series that have ended: they are sent with OTLP's flag for that, without a value."""


class Push:
    """Makes a periodic reader export what the whole service has measured.

    At the reader's interval, the worker that leads exports the sum over all workers, as it is on
    ``/metrics``. A series that is no more, as the gauges of a worker that has ended, is ended at
    the receiver at the next interval, which otherwise would show it for some minutes:
    https://opentelemetry.io/docs/specs/otel/metrics/data-model/#no-recorded-value.
    """

    def __init__(self, reader: sdk.MetricReader, service: Service) -> None:
        self._service = service
        self._name = f"pushed-{len(service.pushing)}"
        service.pushing.append(self)
        self._collect: Callable[..., None] = reader.collect
        self._export = redirect(reader, lambda data, **_: service.receive(data), self._push)
        self._can_end = can_send_no_recorded_value(reader, NoRecordedValues)
        self._closed = False
        when_an_export_fails(reader, health.push_failed)

    def flush(self, reading: Reading, timeout_millis: float = 10_000) -> None:
        """Export a reading now, and end the gauges that it has no more."""
        gone = Snapshot()
        if self._can_end:
            gone = _without(self._service.saved(self._name), reading.snapshot)
            # Before they are exported: another worker may lead as soon as they are.
            self._service.save(self._name, _gauges(reading.snapshot))
        # At the time of reading: another worker may have begun to push meanwhile.
        data = metrics_data(reading.snapshot, reading.resource, now=reading.time_ns)
        self._export(data, timeout_millis=timeout_millis)
        if gone.streams:
            data = metrics_data(gone, reading.resource, NoRecordedValues)
            self._export(data, timeout_millis=timeout_millis)

    def end(self, reading: Reading) -> None:
        """End all series at the receiver: the service has ended."""
        if self._can_end:
            self._export(metrics_data(reading.snapshot, reading.resource, NoRecordedValues))

    def close(self) -> None:
        """Export nothing more."""
        self._closed = True

    def _push(self, timeout_millis: float = 10_000) -> None:
        """What the reader's thread calls at its interval, and does not end by an exception."""
        if self._service.is_collecting:
            self._collect(timeout_millis=timeout_millis)
        elif not self._closed and self._service.join_unless_forked() and self._service.leads:
            try:
                self.flush(self._service.read(), timeout_millis)
            except BaseException as error:
                health.push_failed()
                _logger.warning("The metrics were not pushed: %r", error)


def push_deltas(reader: sdk.MetricReader) -> None:
    """Have a reader that collects deltas push them as they are, but for values made safe."""
    when_an_export_fails(reader, health.push_failed)
    guard_callbacks(guarded)

    def receive(metrics_data: sdk.MetricsData, **options: Any) -> None:
        export(made_safe(metrics_data), **options)

    export = redirect(reader, receive)


def _gauges(snapshot: Snapshot) -> Snapshot:
    streams = snapshot.streams.items()
    return Snapshot(streams={key: stream for key, stream in streams if stream.kind == Kind.GAUGE})


def _without(before: Snapshot, now: Snapshot) -> Snapshot:
    """The series of one snapshot that another one does not have."""
    gone = Snapshot()
    for identity, stream in before.streams.items():
        there = now.streams[identity].points if identity in now.streams else {}
        points = {key: point for key, point in stream.points.items() if key not in there}
        if points:
            gone.streams[identity] = stream.with_points(points)
    return gone


def metrics_data(
    snapshot: Snapshot,
    resource: Resource,
    kind: type[sdk.MetricsData] = sdk.MetricsData,
    now: int | None = None,
) -> sdk.MetricsData:
    """A snapshot as the SDK's data, for an exporter; measured now, or at the given time."""
    now = time_ns() if now is None else now
    scopes: dict[tuple[str, str, str], list[sdk.Metric]] = {}
    for stream in snapshot.streams.values():
        metric = sdk.Metric(stream.name, stream.description, stream.unit, _data(stream, now))
        scope = (stream.scope, stream.version, stream.schema_url)
        scopes.setdefault(scope, []).append(metric)
    scope_metrics = [
        sdk.ScopeMetrics(InstrumentationScope(*scope), metrics, scope[2])
        for scope, metrics in scopes.items()
    ]
    resource = Resource(attributes(resource.attributes), resource.schema_url)
    return kind([sdk.ResourceMetrics(resource, scope_metrics, resource.schema_url)])


def _data(stream: Stream, now: int) -> Any:
    points: list[Any] = [_point(stream, *item, now) for item in stream.points.items()]
    if stream.kind == Kind.HISTOGRAM:
        return sdk.Histogram(points, _CUMULATIVE)
    if stream.kind == Kind.EXPONENTIAL:
        return sdk.ExponentialHistogram(points, _CUMULATIVE)
    if stream.kind == Kind.GAUGE:
        return sdk.Gauge(points)
    return sdk.Sum(points, _CUMULATIVE, is_monotonic=stream.kind == Kind.COUNTER)


def _point(stream: Stream, key: str, point: Point, now: int) -> Any:
    attributes, start = attributes_of(key), point.start * 1_000_000
    exemplars = [
        SdkExemplar(
            dict(each.attributes),
            each.value,
            each.time * 1_000_000,
            int(each.span, 16) if each.span else None,
            int(each.trace, 16) if each.trace else None,
        )
        for each in point.exemplars
    ]
    match point:
        case Number(value=value):
            return sdk.NumberDataPoint(attributes, start, now, value, exemplars)
        case Buckets(counts, sum_, total, least, most):
            return sdk.HistogramDataPoint(
                attributes, start, now, total, sum_, counts, stream.bounds, least, most, exemplars
            )
        case Exponential():
            return sdk.ExponentialHistogramDataPoint(
                attributes,
                start,
                now,
                point.total,
                point.sum,
                point.scale,
                point.zeros,
                sdk.Buckets(*point.positive),
                sdk.Buckets(*point.negative),
                0,
                point.min,
                point.max,
                exemplars,
            )
