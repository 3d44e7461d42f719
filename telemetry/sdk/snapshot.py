"""What a process, or a service of several, has measured: the model behind every output."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial, reduce
from sys import intern
from typing import Any

from telemetry.logger import limited_logger
from telemetry.sdk.points import Buckets, Exemplar, Exponential, Number, Point, Sum

_logger = limited_logger(__name__)


class Kind(StrEnum):
    """What a metric's points are, and so how they add up."""

    COUNTER = "counter"
    UP_DOWN_COUNTER = "up_down_counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    EXPONENTIAL = "exponential_histogram"


OVERFLOW = '{"otel.metric.overflow":true}'
"""The attributes of the series that has what no other one has, when a metric has reached its limit
of series: https://opentelemetry.io/docs/specs/otel/metrics/sdk/#overflow-attribute."""

Identity = tuple[str, str, int]

_POINTS: dict[Kind, Callable[..., Point]] = {
    Kind.COUNTER: Number,
    Kind.UP_DOWN_COUNTER: Number,
    Kind.GAUGE: Number,
    Kind.HISTOGRAM: Buckets,
    Kind.EXPONENTIAL: Exponential,
}


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
    kind: Kind
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

    def with_points(self, points: Mapping[str, Point]) -> "Stream":
        """The same metric with other points."""
        return replace(self, points=dict(points))


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
        added to points of the later definition. If the process has `ended`, so have its gauges
        and up-down counters. Its gauges get the `attributes`.
        """
        self.started = max(self.started, later.started)
        for identity, stream in later.streams.items():
            if ended and stream.kind in (Kind.GAUGE, Kind.UP_DOWN_COUNTER):
                continue
            points = stream.points
            if attributes and stream.kind == Kind.GAUGE:
                points = {
                    key_of({**attributes_of(key), **attributes}): point
                    for key, point in points.items()
                }
            own = self.streams.get(identity)
            if own is not None and own.adds_up_with(stream):
                points = _merged(stream.kind, own.points, points)
            self.streams[identity] = stream.with_points(points)

    def limit_series(self, limit: Callable[[Stream], int]) -> None:
        """Put what is beyond a metric's limit of series into its overflow series.

        The series that began first stay, whichever worker is asked. Gauges and up-down counters
        are of the living, each of which keeps to the limit itself.
        """
        for identity, stream in self.streams.items():
            if stream.kind in (Kind.GAUGE, Kind.UP_DOWN_COUNTER):
                continue
            if len(stream.points) <= (allowed := limit(stream)):
                continue
            own = stream.points.keys() - {OVERFLOW}
            oldest = sorted(own, key=lambda key: (stream.points[key].start, key))[:allowed]
            points = {key: stream.points[key] for key in oldest}
            beyond = (stream.points[key] for key in stream.points.keys() - points.keys())
            points[OVERFLOW] = reduce(partial(combined, stream.kind), beyond)
            self.streams[identity] = stream.with_points(points)

    def to_json(self) -> str:
        """The snapshot as text that `from_json` reads."""
        streams = [
            [
                *(getattr(stream, name) for name in Stream.__slots__[:-1]),
                {key: _with_rest(point) for key, point in stream.points.items()},
            ]
            for stream in self.streams.values()
        ]
        return json.dumps([self.started, streams], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Snapshot":
        """The snapshot that `to_json` has written, without the streams that cannot be read."""
        try:
            started, streams = json.loads(text)
            snapshot = cls(int(started))
            for each in streams:
                try:
                    stream = _stream_from_json(each)
                except (TypeError, ValueError, KeyError, AttributeError) as error:
                    _logger.warning("A metric of another worker cannot be read: %s", error)
                else:
                    snapshot.streams[stream.identity] = stream
        except (TypeError, RecursionError) as error:
            raise ValueError(f"not a snapshot: {error}") from error
        return snapshot


def combined(kind: str, one: Point, other: Any) -> Point:
    """Two points of one series: the sum or, of a gauge, the latter."""
    return other if kind == Kind.GAUGE else one.plus(other)


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


def key_of(attributes: Mapping[str, Any] | None) -> str:
    """Attributes as a point's key, of which there is one object however many metrics have it."""
    return intern(_encode(dict(attributes or {})))


def _with_rest(point: Point) -> Point:
    """The same point, with what rounding has taken from its sum beside the sum."""
    name = "value" if isinstance(point, Number) else "sum"
    number: Any = getattr(point, name)
    if not isinstance(number, Sum):
        return point
    field: dict[str, Any] = {name: (float(number), number.rest)}
    return point._replace(**field)


def _stream_from_json(parts: Sequence[Any]) -> Stream:
    *definition, kind, bounds, ordinal, points = parts
    if not all(isinstance(part, str) for part in definition):
        raise ValueError("its definition is not text")
    kind, bounds = Kind(kind), tuple(map(float, bounds))
    scope, version, schema_url, name, unit, description = definition
    stream = Stream(scope, version, schema_url, name, unit, description, kind, bounds, int(ordinal))
    for key, values in points.items():
        point = _POINTS[kind](*values)
        if point.exemplars:
            point = point._replace(exemplars=_exemplars_from_json(point, len(bounds)))
        whole = not isinstance(point, Buckets) or len(point.counts) == len(bounds) + 1
        if not whole or any(type(number) not in (int, float) for number in _numbers(point[:-1])):
            raise ValueError(f"the points of {stream.name} are not those of a {kind}")
        name = "value" if isinstance(point, Number) else "sum"
        if isinstance(number := getattr(point, name), list):
            point = _POINTS[kind](**{**point._asdict(), name: Sum(*number)})
        if not isinstance(attributes_of(key), dict):
            raise ValueError(f"the attributes of {stream.name} are not attributes")
        stream.points[key] = point
    return stream


def _exemplars_from_json(point: Point, last: int) -> Sequence[Exemplar]:
    exemplars = [Exemplar(*each) for each in point.exemplars]
    for each in exemplars:
        if any(type(number) not in (int, float) for number in (each.value, each.time)):
            raise ValueError("an exemplar has no value or no time")
        if type(each.bucket) is not int or (
            not isinstance(point, Exponential) and not 0 <= each.bucket <= last
        ):
            raise ValueError("an exemplar is in no bucket")
        if not isinstance(each.attributes, dict):
            raise ValueError("the attributes of an exemplar are not attributes")
        bytes.fromhex(each.trace + each.span)
    return exemplars


def _numbers(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _numbers(value)
        else:
            yield value
