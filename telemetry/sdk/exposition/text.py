"""A snapshot as text that Prometheus reads."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from json import dumps
from sys import intern
from typing import Any, NamedTuple

from prometheus_client.utils import floatToGoString

from telemetry.compatibility.prometheus import prometheus_names
from telemetry.logger import limited_logger
from telemetry.sdk import health
from telemetry.sdk.points import Buckets, Exemplar, Number, Point
from telemetry.sdk.safe import Real
from telemetry.sdk.safe import attributes as safe_attributes
from telemetry.sdk.snapshot import Identity, Kind, Snapshot, Stream, attributes_of, combined

_logger = limited_logger(__name__)

# https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/.
_SCOPE_LABEL = "otel_scope_name"
# The names that a family of each type takes beside its own, by OpenMetrics.
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "gauge": (),
    "histogram": ("_bucket", "_count", "_sum", "_created"),
    "summary": ("_count", "_sum", "_created"),
    "gaugehistogram": ("_bucket", "_gcount", "_gsum"),
    "info": ("_info",),
}
_MAX_EXEMPLAR_LENGTH = 128

# So many series are handed over together: some 50 KB of histograms, for which gzip needs 0.2 ms.
_SLICE = 32
# So many are written in one step: some 0.1 ms.
_STEP = 16


class _Series(NamedTuple):
    """A series as it was written last."""

    labels: str
    before: str  # The labels that come before le, in its buckets.
    point: Point
    lines: bytes


@dataclass(slots=True)
class _Family:
    """All streams that are shown under one name, and each of their series as written last."""

    name: str
    sample: str  # The name of its samples but for a histogram's suffixes.
    header: str
    unit: str
    # The labels that tell a stream from the others, and how its buckets are written.
    streams: Sequence[tuple[Identity, Mapping[str, str], str]]
    # Only OpenMetrics has exemplars, and lines that say when a series began.
    created: bool
    exemplars: bool
    series: dict[Identity, dict[str, _Series]] = field(default_factory=dict)


class TextWriter:
    """Writes snapshots in the Prometheus text format 0.0.4 or in OpenMetrics 1.0.

    Names, units and label names are those of OpenTelemetry's Prometheus exporter. Every page is
    one that Prometheus takes, whatever instruments an application has: series that would have
    the same name and labels are added up (of gauges, the last one stays), and a metric whose
    name another one has taken is left out, with a log line that names it.
    https://prometheus.io/docs/instrumenting/exposition_formats/
    """

    def __init__(self, openmetrics: bool, created: bool = True) -> None:
        self._openmetrics = openmetrics
        self._created = created
        self._definitions: object = None
        self._families: list[_Family] = []
        self.names: set[str] = set()

    def write(
        self,
        snapshot: Snapshot,
        resource: Mapping[str, Any],
        further: Callable[[Collection[str]], bytes] = lambda _: b"",
    ) -> bytes:
        """The page: ``target_info``, the snapshot, and what `further` makes of the names taken."""
        slices = self.slices(snapshot, resource, further)
        return b"".join(part for parts in slices for part in parts or ())

    def slices(
        self,
        snapshot: Snapshot,
        resource: Mapping[str, Any],
        further: Callable[[Collection[str]], bytes],
    ) -> Iterator[Sequence[bytes] | None]:
        """The page in slices of several parts, each of which takes a fraction of a millisecond.

        Of a series whose point is the same object as when it was written last, the lines are as
        they were. None comes before what `further` makes, which takes as long as it does.
        """
        families = self.families(snapshot)
        yield [self._target_info(resource).encode()]
        for family in families:
            yield [family.header.encode()]
            yield from self._series(family, snapshot)
        yield None
        yield [further(self.names), b"# EOF\n" if self._openmetrics else b""]

    def families(self, snapshot: Snapshot) -> Sequence[_Family]:
        """The families of a snapshot, whose names are then in `names`."""
        definitions = [
            (each.identity, each.unit, each.description, each.kind, each.bounds)
            for each in snapshot.streams.values()
        ]
        if definitions != self._definitions:
            self._families = self._plan(snapshot)
            self._definitions = definitions
        return self._families

    def _plan(self, snapshot: Snapshot) -> list[_Family]:
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
        families: dict[str, _Family] = {}
        # Counters, which can do with one name only, come after those that cannot.
        for sample in sorted(groups, key=lambda each: groups[each][0].kind == Kind.COUNTER):
            group = groups[sample]
            family = self._family(sample, group)
            if family is not None:
                families[sample] = family
                continue
            for stream in group:
                leave_out(stream, sample)
        return [families[sample] for sample in groups if sample in families]

    def _family(self, sample: str, group: Sequence[Stream]) -> _Family | None:
        """A family, whose names are then taken, or None where they are taken already."""
        first = group[0]
        name, kind, unit = _name(first), _type(first), prometheus_names()[2](first.unit)
        names = names_of(name, kind)
        if not self.names.isdisjoint(names):
            # One sample a series is also valid on its own, as a metric of unknown type.
            if sample == name or sample in self.names:
                return None
            name, names, unit = sample, {sample}, ""
            kind = "unknown" if self._openmetrics else kind
        self.names |= names
        described = name if self._openmetrics else sample
        description = first.description.replace("\\", r"\\").replace("\n", r"\n")
        if self._openmetrics:
            description = description.replace('"', r"\"")
        header = f"# HELP {described} {description}\n# TYPE {described} {kind}\n"
        if self._openmetrics:
            # Prometheus's type-and-unit-labels take the unit of the family before without it.
            header += f"# UNIT {described} {unit}\n"
        counts = self._openmetrics and kind in (Kind.COUNTER, Kind.HISTOGRAM)
        streams = [
            (
                each.identity,
                {} if each.scope == first.scope else {_SCOPE_LABEL: each.scope},
                "\n".join(f"{bound} %d" for bound in (*map(floatToGoString, each.bounds), "+Inf")),
            )
            for each in group
        ]
        return _Family(name, sample, header, unit, streams, counts and self._created, counts)

    def _series(self, family: _Family, snapshot: Snapshot) -> Iterator[Sequence[bytes]]:
        shown: dict[str, tuple[Stream, _Series]] = {}
        for identity, extra, buckets in family.streams:
            stream = snapshot.streams[identity]
            known, kept = family.series.get(identity, {}), dict[str, _Series]()
            for key, point in stream.points.items():
                series = known.get(key)
                if series is None or series.point is not point:
                    labels = series[:2] if series else _labels_of(stream, key, extra)
                    series = _Series(*labels, point, _lines(family, buckets, *labels, point))
                kept[key] = series
                if not len(kept) % _STEP:
                    yield []
                other = shown.get(series.labels)
                if other is None:
                    shown[series.labels] = stream, series
                elif other[0].adds_up_with(stream):
                    point = combined(stream.kind, other[1].point, point)
                    lines = _lines(family, buckets, *series[:2], point)
                    shown[series.labels] = stream, _Series(*series[:2], point, lines)
                else:
                    leave_out(stream, family.name)
            family.series[identity] = kept
        parts = [series.lines for _, series in shown.values()]
        for first in range(0, len(parts), _SLICE):
            yield parts[first : first + _SLICE]

    def _target_info(self, resource: Mapping[str, Any]) -> str:
        labels = _braces(_labels(safe_attributes(resource)))
        alone = not self._openmetrics or "target" in self.names
        name, kind = ("target_info", "gauge") if alone else ("target", "info")
        head = f"# HELP {name} Target metadata\n# TYPE {name} {kind}\n"
        return f"{head}target_info{labels} 1.0\n"


def _labels_of(stream: Stream, key: str, extra: Mapping[str, str]) -> tuple[str, str]:
    """All labels of a series, and those that come before ``le`` in its buckets."""
    reserved = "le" if stream.kind == Kind.HISTOGRAM else ""
    labels = sorted(_labels(attributes_of(key), extra, reserved=reserved))
    # Several metrics have series with the same labels, which are kept once.
    return intern(_braces(labels)), "".join(f"{each}," for each in labels if each < "le=")


def _lines(family: _Family, buckets: str, labels: str, before: str, point: Point) -> bytes:
    """All lines of a series; of a histogram, those of the buckets come first."""
    name = family.sample
    if isinstance(point, Buckets):
        after = labels[len(before) + 1 : -1]
        start, end = f'{name}_bucket{{{before}le="', f'",{after}}} ' if after else '"} '
        # Labels may have spaces, but no line feeds.
        lines = (buckets % tuple(accumulate(point.counts))).replace(" ", end)
        lines = f"{start}{lines}".replace("\n", f".0\n{start}") + ".0\n"
        # A sum of negative values can fall, which a counter's must not: OpenMetrics 1.0.
        if not buckets.startswith("-"):
            lines += (
                f"{name}_count{labels} {point.total}.0\n{name}_sum{labels} {_number(point.sum)}\n"
            )
    elif isinstance(point, Number):
        lines = f"{name}{labels} {_number(point.value)}\n"
    if family.created:
        lines += f"{family.name}_created{labels} {point.start / 1000:.3f}\n"
    if family.exemplars and point.exemplars:
        each_line = lines.split("\n")
        for each in point.exemplars:
            each_line[each.bucket] += _exemplar(each)
        lines = "\n".join(each_line)
    return lines.encode()


def _exemplar(exemplar: Exemplar) -> str:
    """What follows the value of the sample that an exemplar is of."""
    labels = ",".join(_label(*each) for each in exemplar_labels(exemplar))
    return f" # {{{labels}}} {_number(exemplar.value)} {exemplar.time / 1000:.3f}"


def exemplar_labels(exemplar: Exemplar) -> Sequence[tuple[str, str]]:
    """The span's ids and the attributes that a view has left out, as the exporter's specification.

    Without those attributes if all together were longer than OpenMetrics allows:
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


def _labels(
    attributes: Mapping[str, Any], extra: Mapping[str, str] | None = None, *, reserved: str = ""
) -> list[str]:
    return [_label(*each) for each in label_pairs(attributes, extra, reserved=reserved)]


def _label(name: str, value: str) -> str:
    value = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{name}="{value}"'


def _braces(labels: Iterable[str]) -> str:
    """Labels in the order of their names, as prometheus_client writes them."""
    text = ",".join(sorted(labels))
    return f"{{{text}}}" if text else ""


def _number(value: Real) -> str:
    return f"{value}.0" if isinstance(value, int) else str(floatToGoString(value))  # type: ignore[no-untyped-call]
