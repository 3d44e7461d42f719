"""What several processes have measured together."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import is_
from typing import NamedTuple

from telemetry.sdk.points import Point
from telemetry.sdk.snapshot import (
    OVERFLOW,
    Identity,
    Kind,
    Snapshot,
    Stream,
    attributes_of,
    combined,
    key_of,
)

PID = "process.pid"
"""The attribute that tells the gauges of several workers apart:
https://opentelemetry.io/docs/specs/semconv/registry/attributes/process/."""


class Part(NamedTuple):
    """What one process has measured, or several that have ended. Its gauges get the `pid`."""

    snapshot: Snapshot
    ended: bool = False
    pid: int | None = None


class _Sum(NamedTuple):
    """The sum of some streams, with its parts point by point."""

    streams: Sequence[tuple[Stream, int | None]]
    parts: dict[str, list[Point]]
    points: dict[str, Point]
    total: Stream


class Total:
    """Adds up what processes have measured: of what was added up before, only what has changed.

    Series beyond a metric's limit are put into its overflow series.
    """

    def __init__(self, limit: Callable[[Stream], int]) -> None:
        self._limit = limit
        self._sums: dict[Identity, _Sum] = {}

    def of(self, parts: Iterable[Part]) -> Snapshot:
        """The sum of parts in the order in which their processes were started.

        Counters, up-down counters and histograms are summed; of gauges with the same attributes
        the latest one stays. Where the definitions of a metric differ, since the code was changed
        in between, the latest one holds; older points are kept if they can be added to points of
        that definition. Gauges and up-down counters end with their processes.
        """
        started = 0
        sources: dict[Identity, list[tuple[Stream, int | None]]] = {}
        for snapshot, ended, pid in parts:
            started = max(started, snapshot.started)
            for identity, stream in snapshot.streams.items():
                if ended and stream.kind in (Kind.GAUGE, Kind.UP_DOWN_COUNTER):
                    continue
                streams = sources.setdefault(identity, [])
                if streams and not streams[-1][0].adds_up_with(stream):
                    streams.clear()
                streams.append((stream, pid if stream.kind == Kind.GAUGE else None))
        self._sums = {identity: self._sum(identity, each) for identity, each in sources.items()}
        return Snapshot(started, {identity: each.total for identity, each in self._sums.items()})

    def _sum(self, identity: Identity, streams: Sequence[tuple[Stream, int | None]]) -> _Sum:
        before = self._sums.get(identity)
        if before is not None and len(streams) == len(before.streams):
            pairs = zip(streams, before.streams, strict=True)
            if all(one[0] is other[0] and one[1] == other[1] for one, other in pairs):
                return before
        stream = streams[-1][0]
        parts: dict[str, list[Point]] = {}
        for each, pid in streams:
            for key, point in each.points.items():
                parts.setdefault(key if pid is None else _told_apart(key, pid), []).append(point)
        if before is None or not before.total.adds_up_with(stream):
            before = _Sum([], {}, {}, stream)
        points = {
            key: before.points[key]
            if _same(before.parts.get(key), each)
            else combined(stream.kind, *each)
            for key, each in parts.items()
        }
        return _Sum(streams, parts, points, self._limited(stream.with_points(points)))

    def _limited(self, stream: Stream) -> Stream:
        """The series that began first stay, whichever worker is asked.

        Gauges and up-down counters are of the living, each of which keeps to the limit itself.
        """
        if stream.kind in (Kind.GAUGE, Kind.UP_DOWN_COUNTER):
            return stream
        if len(stream.points) <= (allowed := self._limit(stream)):
            return stream
        own = stream.points.keys() - {OVERFLOW}
        oldest = sorted(own, key=lambda key: (stream.points[key].start, key))[:allowed]
        points = {key: stream.points[key] for key in oldest}
        beyond = (stream.points[key] for key in stream.points.keys() - points.keys())
        points[OVERFLOW] = combined(stream.kind, *beyond)
        return stream.with_points(points)


def _same(before: list[Point] | None, now: list[Point]) -> bool:
    return before is not None and len(before) == len(now) and all(map(is_, before, now))


@lru_cache(maxsize=4096)
def _told_apart(key: str, pid: int) -> str:
    return key_of({**attributes_of(key), PID: pid})
