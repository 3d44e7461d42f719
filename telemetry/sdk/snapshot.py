"""What a process, or a service of several, has measured: the model behind every output."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from sys import intern
from typing import Any

from telemetry.sdk.points import Point


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

    @property
    def definition(self) -> tuple[Any, ...]:
        """Everything but the points."""
        return tuple(getattr(self, name) for name in Stream.__slots__[:-1])

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


def combined(kind: str, *points: Any) -> Point:
    """Points of one series as one: their sum or, of gauges, the last of them."""
    last: Point = points[-1]
    return last if kind == Kind.GAUGE or len(points) == 1 else type(last).sum_of(points)


def attributes_of(key: str) -> dict[str, Any]:
    """The attributes that are written as a point's key."""
    attributes: dict[str, Any] = json.loads(key)
    return attributes


_encode = json.JSONEncoder(sort_keys=True, default=str, separators=(",", ":")).encode


def key_of(attributes: Mapping[str, Any] | None) -> str:
    """Attributes as a point's key, of which there is one object however many metrics have it."""
    return intern(_encode(dict(attributes or {})))
