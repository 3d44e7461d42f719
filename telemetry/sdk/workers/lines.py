"""Snapshots as text with a line for each point, so that only lines that have changed are parsed.

Each stream is a paragraph that begins with its definition; a last one shows that the text is whole.
"""

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

from telemetry.logger import limited_logger
from telemetry.sdk.points import Buckets, Exemplar, Exponential, Number, Point, Sum
from telemetry.sdk.snapshot import Identity, Kind, Snapshot, Stream, attributes_of

_logger = limited_logger(__name__)

_END = "."
_NUMBERS = {int, float}
_POINTS: dict[Kind, Any] = {
    Kind.COUNTER: Number,
    Kind.UP_DOWN_COUNTER: Number,
    Kind.GAUGE: Number,
    Kind.HISTOGRAM: Buckets,
    Kind.EXPONENTIAL: Exponential,
}
# The fields of a point that come before this one are numbers.
_EXEMPLARS = {kind: point._fields.index("exemplars") for kind, point in _POINTS.items()}

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Writer:
    """Writes snapshots of one process, and keeps the lines of points that stay the same."""

    def __init__(self) -> None:
        self._written: dict[Identity, tuple[Stream, dict[str, str]]] = {}

    def write(self, snapshot: Snapshot) -> str:
        """The text of a snapshot."""
        paragraphs = [str(snapshot.started)]
        written = {}
        for identity, stream in snapshot.streams.items():
            before, known = self._written.get(identity, (stream, {}))
            if stream is before and known:
                lines = known
            else:
                lines = {
                    key: known[key]
                    if before.points.get(key) == point and key in known
                    else f"{key}\t{_encode(_with_rest(point))}"
                    for key, point in stream.points.items()
                }
            written[identity] = (stream, lines)
            paragraphs.append("\n".join([_encode(stream.definition), *lines.values()]))
        self._written = written
        return "\n\n".join([*paragraphs, _END])


class Reader:
    """Reads snapshots of one process, and keeps the streams and points that stay the same."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[Stream, dict[str, tuple[str, Point]]]] = {}

    def read(self, text: str) -> Snapshot:
        """The snapshot that was written, without the streams that cannot be read.

        It raises a ValueError if the text is not a snapshot, or only a part of one.
        """
        started, *paragraphs = text.split("\n\n")
        if not paragraphs or paragraphs.pop() != _END:
            raise ValueError("the end is missing")
        read = {}
        for paragraph in paragraphs:
            definition, *lines = paragraph.split("\n")
            try:
                read[definition] = self._stream(definition, lines)
            except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
                _logger.warning("A metric of another worker cannot be read: %s", error)
        self._read = read
        streams = (stream for stream, _ in read.values())
        return Snapshot(int(started), {stream.identity: stream for stream in streams})

    def _stream(
        self, definition: str, lines: Sequence[str]
    ) -> tuple[Stream, dict[str, tuple[str, Point]]]:
        if known := self._read.get(definition):
            stream, before = known
            if len(lines) == len(before) and all(map(before.__contains__, lines)):
                return known
        else:
            stream, before = _stream_of(definition), {}
        new = _points_of(stream, [line for line in lines if line not in before])
        points = {line: before.get(line) or new[line] for line in lines}
        return stream.with_points(dict(points.values())), points


def _with_rest(point: Point) -> Point:
    """The same point, with its sum as a pair: the sum, and what rounding has taken from it."""
    name = "value" if isinstance(point, Number) else "sum"
    number: Any = getattr(point, name)
    if not isinstance(number, Sum):
        return point
    field: dict[str, Any] = {name: (float(number), number.rest)}
    return point._replace(**field)


def _stream_of(definition: str) -> Stream:
    *names, kind, bounds, ordinal = json.loads(definition)
    if not all(isinstance(name, str) for name in names):
        raise ValueError("its definition is not text")
    scope, version, schema_url, name, unit, description = names
    bounds = tuple(map(float, bounds))
    return Stream(
        scope, version, schema_url, name, unit, description, Kind(kind), bounds, int(ordinal)
    )


def _points_of(stream: Stream, lines: Sequence[str]) -> dict[str, tuple[str, Point]]:
    """The points of lines, with their keys. All are parsed and checked at once, which is faster."""
    parts = [line.partition("\t") for line in lines]
    read = json.loads(f"[{','.join(values for _, _, values in parts)}]")
    if not _are_numbers([values[: _EXEMPLARS[stream.kind]] for values in read]):
        raise ValueError(f"the points of {stream.name} are not those of a {stream.kind}")
    points = {}
    for line, (key, _, _), values in zip(lines, parts, read, strict=True):
        point = _POINTS[stream.kind](*values)
        if isinstance(point, Buckets) and len(point.counts) != len(stream.bounds) + 1:
            raise ValueError(f"the points of {stream.name} do not have its buckets")
        if key not in stream.points and not isinstance(attributes_of(key), dict):
            raise ValueError(f"the attributes of {stream.name} are not attributes")
        if point.exemplars:
            point = point._replace(exemplars=_exemplars_of(point, len(stream.bounds)))
        name = "value" if isinstance(point, Number) else "sum"
        if isinstance(number := getattr(point, name), list):
            point = _POINTS[stream.kind](**{**point._asdict(), name: Sum(*number)})
        points[line] = (key, point)
    return points


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether there are only numbers, in lists at any depth."""
    lists = [each for each in values if type(each) is list]
    if not {int, float, list}.issuperset(map(type, values)):
        return False
    return not lists or _are_numbers(list(chain.from_iterable(lists)))


def _exemplars_of(point: Point, last: int) -> Sequence[Exemplar]:
    exemplars = [Exemplar(*each) for each in point.exemplars]
    for each in exemplars:
        if any(type(number) not in _NUMBERS for number in (each.value, each.time)):
            raise ValueError("an exemplar has no value or no time")
        if type(each.bucket) is not int or (
            not isinstance(point, Exponential) and not 0 <= each.bucket <= last
        ):
            raise ValueError("an exemplar is in no bucket")
        if not isinstance(each.attributes, dict):
            raise ValueError("the attributes of an exemplar are not attributes")
        bytes.fromhex(each.trace + each.span)
    return exemplars
