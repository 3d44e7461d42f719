"""Families of metrics on a page: their names, and the series that are shown in each."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from json import dumps
from typing import Any

from telemetry.compatibility.prometheus import prometheus_names
from telemetry.logger import limited_logger
from telemetry.sdk import health
from telemetry.sdk.points import Exemplar, Point
from telemetry.sdk.safe import attributes as safe_attributes
from telemetry.sdk.snapshot import Identity, Kind, Snapshot, Stream, attributes_of, combined

_logger = limited_logger(__name__)

# https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/.
_SCOPE_LABEL = "otel_scope_name"
# What OpenMetrics appends to a family's name, by its type, for the names of its samples.
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "gauge": (),
    "histogram": ("_bucket", "_count", "_sum", "_created"),
    "summary": ("_count", "_sum", "_created"),
    "gaugehistogram": ("_bucket", "_gcount", "_gsum"),
    "info": ("_info",),
}
_MAX_EXEMPLAR_LENGTH = 128
# Series that are written in one step, which takes some 0.1 ms.
_STEP = 16

Labels = Sequence[tuple[str, str]]


@dataclass(slots=True)
class _Series:
    """A series as it was written last."""

    identity: Identity
    labels: Any
    point: Point
    written: bytes


@dataclass(slots=True)
class Family:
    """All streams that are shown under one name, and each of their series as written last."""

    name: str
    sample: str  # The name of its samples, without the suffixes of a histogram.
    kind: str
    unit: str
    description: str
    # Of each, labels that only it has, and its bounds in the form that the writer takes.
    streams: Sequence[tuple[Identity, Mapping[str, str], Any]]
    series: dict[Identity, dict[str, _Series]] = field(default_factory=dict)


class FamilyWriter(ABC):
    """Writes snapshots family by family, in one of the formats.

    Names, units and label names are those of OpenTelemetry's Prometheus exporter. Prometheus
    accepts every page, whatever instruments an application has: series that would have the same
    name and labels are added up (of gauges, the last one stays), and a metric whose name another
    one has taken is left out, with a log line that names it.
    https://prometheus.io/docs/instrumenting/exposition_formats/
    """

    openmetrics = False
    end = b""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._definitions: object = None
        self._families: list[Family] = []

    def write(
        self,
        snapshot: Snapshot,
        resource: Mapping[str, Any],
        further: Callable[[Collection[str]], bytes] = lambda _: b"",
    ) -> bytes:
        """A page: ``target_info``, the snapshot, and what `further` returns for the taken names."""
        slices = self.slices(snapshot, resource, further)
        return b"".join(part for parts in slices for part in parts or ())

    def slices(
        self,
        snapshot: Snapshot,
        resource: Mapping[str, Any],
        further: Callable[[Collection[str]], bytes],
    ) -> Iterator[Sequence[bytes] | None]:
        """The page in slices, lists of parts, each of which takes a fraction of a millisecond.

        A series whose point is still the same object is not written again. None comes before
        `further` is called, which may take longer.
        """
        definitions = [
            (each.identity, each.unit, each.description, each.kind, each.bounds)
            for each in snapshot.streams.values()
        ]
        if definitions != self._definitions:
            self._families = self._plan(snapshot)
            self._definitions = definitions
        yield [self.target(label_pairs(safe_attributes(resource)))]
        for family in self._families:
            series = yield from self._series(family, snapshot)
            yield from self.family(family, series)
        yield None
        yield [further(self.names), self.end]

    @abstractmethod
    def target(self, labels: Labels) -> bytes:
        """The family ``target_info``, with the attributes of the resource."""

    @abstractmethod
    def family(self, family: Family, series: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
        """A family with its series, in slices."""

    @abstractmethod
    def bounds(self, bounds: Sequence[float]) -> Any:
        """The bounds of a stream's buckets, in the form that `series` takes."""

    @abstractmethod
    def labels(self, labels: Labels) -> Any:
        """The labels of a series, in the form that `series` takes; the same labels are equal."""

    @abstractmethod
    def series(self, family: Family, bounds: Any, labels: Any, point: Point) -> bytes:
        """One series, as the format has it."""

    def _plan(self, snapshot: Snapshot) -> list[Family]:
        """The families that there is a name for, in the order of their first streams."""
        groups: dict[str, list[Stream]] = {}
        for stream in snapshot.streams.values():
            sample = _name(stream) + ("_total" if stream.kind == Kind.COUNTER else "")
            group = groups.setdefault(sample, [stream])
            if _type(group[0]) != _type(stream):
                leave_out(stream, sample)
            elif group[0] is not stream:
                group.append(stream)
        self.names = {"target_info"}
        families: dict[str, Family] = {}
        # Counters come last: they can do with one name where others have taken the rest.
        for sample in sorted(groups, key=lambda each: groups[each][0].kind == Kind.COUNTER):
            group = groups[sample]
            family = self._family(sample, group)
            if family is not None:
                families[sample] = family
                continue
            for stream in group:
                leave_out(stream, sample)
        return [families[sample] for sample in groups if sample in families]

    def _family(self, sample: str, group: Sequence[Stream]) -> Family | None:
        """A family, whose names are then taken, or None where they are taken already."""
        first = group[0]
        name, kind, unit = _name(first), _type(first), prometheus_names()[2](first.unit)
        names = names_of(name, kind)
        if not self.names.isdisjoint(names):
            # One sample a series is also valid on its own, as a metric of unknown type.
            if sample == name or sample in self.names:
                return None
            name, names, unit = sample, {sample}, ""
            kind = "unknown" if self.openmetrics else kind
        self.names |= names
        streams = [
            (
                each.identity,
                {} if each.scope == first.scope else {_SCOPE_LABEL: each.scope},
                self.bounds(each.bounds),
            )
            for each in group
        ]
        return Family(name, sample, kind, unit, first.description, streams)

    def _series(
        self, family: Family, snapshot: Snapshot
    ) -> Generator[Sequence[bytes], None, Sequence[bytes]]:
        shown: dict[Any, _Series] = {}
        for identity, extra, bounds in family.streams:
            stream = snapshot.streams[identity]
            known = family.series.setdefault(identity, {})
            for key, point in stream.points.items():
                series = known.get(key)
                if series is None:
                    labels = self.labels(_labels_of(stream, key, extra))
                    written = self.series(family, bounds, labels, point)
                    series = known[key] = _Series(identity, labels, point, written)
                elif series.point is not point:
                    series.written = self.series(family, bounds, series.labels, point)
                    series.point = point
                other = shown.setdefault(series.labels, series)
                if other is series:
                    if not len(shown) % _STEP:
                        yield []
                elif snapshot.streams[other.identity].adds_up_with(stream):
                    point = combined(stream.kind, other.point, point)
                    written = self.series(family, bounds, series.labels, point)
                    shown[series.labels] = _Series(identity, series.labels, point, written)
                else:
                    leave_out(stream, family.name)
            if len(known) > len(stream.points):
                family.series[identity] = {key: known[key] for key in stream.points}
        return [series.written for series in shown.values()]


def exemplar_labels(exemplar: Exemplar) -> Sequence[tuple[str, str]]:
    """The span's ids, and the attributes that a view has left out, as OpenTelemetry specifies.

    Only the ids if all together would be longer than OpenMetrics allows:
    https://prometheus.io/docs/specs/om/open_metrics_spec/#exemplars.
    """
    ids = {"trace_id": exemplar.trace, "span_id": exemplar.span} if exemplar.trace else {}
    if not exemplar.attributes:
        return [*ids.items()]
    more = [*{**ids, **dict(label_pairs(exemplar.attributes)), **ids}.items()]
    fits = sum(len(name) + len(value) for name, value in more) <= _MAX_EXEMPLAR_LENGTH
    return more if fits else [*ids.items()]


def leave_out(stream: Stream, name: str) -> None:
    """Say that a metric is not shown, as another one has its name."""
    health.dropped("name_taken")
    # Not by arguments: each metric has a line of its own a minute.
    _logger.warning(
        f"The metric {stream.name} of {stream.scope} is not shown: another one has the name "
        f"{name}. Rename one of them."
    )


def names_of(name: str, kind: str) -> set[str]:
    """The names that a family of this type takes, its own among them."""
    return {name, *(name + suffix for suffix in _SUFFIXES.get(kind, ()))}


def _name(stream: Stream) -> str:
    metric_name, _, unit_of = prometheus_names()
    name, unit = metric_name(stream.name), unit_of(stream.unit)
    if stream.kind == Kind.COUNTER:
        name = name.removesuffix("_total")
    return f"{name}_{unit}" if unit and not name.endswith(f"_{unit}") else name


def _type(stream: Stream) -> str:
    # Prometheus has no up-down counter.
    return stream.kind if stream.kind in (Kind.COUNTER, Kind.HISTOGRAM) else "gauge"


def _labels_of(stream: Stream, key: str, extra: Mapping[str, str]) -> Labels:
    reserved = "le" if stream.kind == Kind.HISTOGRAM else ""
    return label_pairs(attributes_of(key), extra, reserved=reserved)


def label_pairs(
    attributes: Mapping[str, Any], extra: Mapping[str, str] | None = None, *, reserved: str = ""
) -> Sequence[tuple[str, str]]:
    """Attributes as labels; an empty value is the same to Prometheus as no label.

    A `reserved` name gets ``exported_`` before it, as Prometheus does with labels of a target.
    """
    labels: dict[str, list[str]] = {}
    for key, value in sorted(attributes.items()):
        name = prometheus_names()[1](key)
        text = value if isinstance(value, str) else dumps(value, default=str)
        if name and text:
            labels.setdefault(f"exported_{name}" if name == reserved else name, []).append(text)
    labels.update((name, [value]) for name, value in (extra or {}).items())
    # Several attributes of one name are joined, as the exporter's specification says.
    return [(name, ";".join(values)) for name, values in labels.items()]
