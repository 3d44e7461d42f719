"""What one process has measured, in a form that can be stored and added up."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

COUNTER = "counter"
UP_DOWN_COUNTER = "up_down_counter"
GAUGE = "gauge"
HISTOGRAM = "histogram"


class Stream(NamedTuple):
    """What makes a metric the same metric in another process."""

    scope: str
    version: str
    schema_url: str
    name: str
    unit: str
    description: str
    kind: str
    bounds: tuple[float, ...]


Number = int | float
Point = Number | list[Any]
"""A number or, of a histogram, ``[bucket counts, sum, count, min, max]``."""


@dataclass(slots=True)
class Snapshot:
    """The points of each metric by their attributes, which are written as JSON."""

    streams: dict[Stream, dict[str, Point]] = field(default_factory=dict)

    def add(
        self,
        other: "Snapshot",
        *,
        gauges: bool = True,
        attributes: Mapping[str, str | int] = MappingProxyType({}),
    ) -> None:
        """Add what another process has measured.

        Counters, up-down counters and histograms are summed; of two gauges with the same
        attributes the later one stays.

        Parameters:
            other: The other process's snapshot, which stays as it is.
            gauges: Whether gauges are added, too.
            attributes: Attributes that its gauges get.
        """
        for stream, points in other.streams.items():
            if stream.kind == GAUGE:
                if gauges:
                    own = self.streams.setdefault(stream, {})
                    own.update((_with(key, attributes), point) for key, point in points.items())
                continue
            own = self.streams.setdefault(stream, {})
            for key, point in points.items():
                own[key] = _sum(own[key], point) if key in own else point

    def to_json(self) -> str:
        """The snapshot as text that `from_json` reads."""
        return json.dumps(
            [
                [*stream[:-1], list(stream.bounds), points]
                for stream, points in self.streams.items()
            ],
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> "Snapshot":
        """The snapshot that `to_json` has written.

        Raises:
            ValueError: The text is not such a snapshot, or not all of one.
        """
        try:
            snapshot = cls(
                {
                    Stream._make([*identity, tuple(bounds)]): points
                    for *identity, bounds, points in json.loads(text)
                }
            )
            for stream, points in snapshot.streams.items():
                _check(stream, points)
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a snapshot: {error}") from error
        return snapshot


def _check(stream: Stream, points: Any) -> None:
    """Make sure that points can be added up and shown.

    Raises:
        ValueError: They cannot.
    """
    if not all(isinstance(part, str) for part in stream[:-1]):
        raise ValueError("not a snapshot: a name is no text")
    for key, point in points.items():
        if not isinstance(json.loads(key), dict):
            raise ValueError("not a snapshot: attributes are none")
        if stream.kind == HISTOGRAM:
            counts, *rest = point
            good = len(counts) == len(stream.bounds) + 1 and len(rest) == 4
            numbers = [*counts, *rest]
        else:
            good, numbers = stream.kind in (COUNTER, UP_DOWN_COUNTER, GAUGE), [point]
        if not good or not all(type(number) in (int, float) for number in numbers):
            raise ValueError(f"not a snapshot: {stream.name} has other points than its kind")


def snapshot_of(data: MetricsData) -> Snapshot:
    """What a reader has collected, as a snapshot.

    Exponential histograms are left out: the Prometheus reader cannot show them either.

    Parameters:
        data: Metrics with cumulative temporality, as a reader for Prometheus collects them.
    """
    snapshot = Snapshot()
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if stream := _stream(scope.scope, metric):
                    points = snapshot.streams.setdefault(stream, {})
                    points.update(
                        (_key(each.attributes), _point(each)) for each in metric.data.data_points
                    )
    return snapshot


def metrics_data(snapshot: Snapshot, resource: Resource) -> MetricsData:
    """The snapshot as the SDK's own data, for a reader to show.

    Parameters:
        snapshot: What is shown.
        resource: What it is about.
    """
    scopes: dict[tuple[str, str, str], list[Metric]] = {}
    for stream, points in snapshot.streams.items():
        metric = Metric(stream.name, stream.description, stream.unit, _data(stream, points))
        scopes.setdefault(stream[:3], []).append(metric)
    return MetricsData(
        [
            ResourceMetrics(
                resource,
                [
                    ScopeMetrics(
                        InstrumentationScope(name, version, schema_url), metrics, schema_url
                    )
                    for (name, version, schema_url), metrics in scopes.items()
                ],
                resource.schema_url,
            )
        ]
    )


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
        case _:
            return None
    return Stream(
        scope.name,
        scope.version or "",
        scope.schema_url or "",
        metric.name,
        metric.unit or "",
        metric.description or "",
        kind,
        tuple(bounds),
    )


def _key(attributes: Mapping[str, Any] | None) -> str:
    return json.dumps(dict(attributes or {}), sort_keys=True, default=str, separators=(",", ":"))


def _with(key: str, attributes: Mapping[str, str | int]) -> str:
    return _key({**json.loads(key), **attributes}) if attributes else key


def _point(point: Any) -> Point:
    if isinstance(point, HistogramDataPoint):
        return [list(point.bucket_counts), point.sum, point.count, point.min, point.max]
    value: Number = point.value
    return value


def _sum(one: Point, other: Point) -> Point:
    if isinstance(one, list) and isinstance(other, list):
        counts = [a + b for a, b in zip(one[0], other[0], strict=True)]
        return [
            counts,
            one[1] + other[1],
            one[2] + other[2],
            min(one[3], other[3]),
            max(one[4], other[4]),
        ]
    if isinstance(one, list) or isinstance(other, list):
        raise ValueError("a number and a histogram do not add up")
    return one + other


def _data(stream: Stream, points: Mapping[str, Point]) -> Sum | Gauge | Histogram:
    cumulative = AggregationTemporality.CUMULATIVE
    if stream.kind == HISTOGRAM:
        return Histogram([_histogram(stream, *each) for each in points.items()], cumulative)
    numbers = [
        NumberDataPoint(json.loads(key), 0, 0, _number(each)) for key, each in points.items()
    ]
    if stream.kind == GAUGE:
        return Gauge(numbers)
    return Sum(numbers, cumulative, is_monotonic=stream.kind == COUNTER)


def _number(point: Point) -> Number:
    if isinstance(point, list):
        raise ValueError("a histogram where a number belongs")
    return point


def _histogram(stream: Stream, key: str, point: Point) -> HistogramDataPoint:
    if not isinstance(point, list):
        raise ValueError("a number where a histogram belongs")
    counts, total, count, least, most = point
    return HistogramDataPoint(
        json.loads(key), 0, 0, count, total, counts, stream.bounds, least, most
    )
