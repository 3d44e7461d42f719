"""A snapshot as text that Prometheus reads."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from json import dumps
from typing import Any

from prometheus_client.utils import floatToGoString

from telemetry.compatibility import prometheus_names
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
_IDS = ("trace_id=", "span_id=")

_Series = tuple[str, str]
"""The labels as text, and a %-format of all lines of the series."""


@dataclass(slots=True)
class _Family:
    """All streams that are shown under one name, and the ready text of each of their series."""

    name: str
    sample: str  # The name of its samples but for a histogram's suffixes.
    header: str
    streams: list[tuple[Identity, dict[str, str]]]
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
        self._names: set[str] = set()

    def write(
        self,
        snapshot: Snapshot,
        resource: Mapping[str, Any],
        further: Callable[[Collection[str]], bytes] = lambda _: b"",
    ) -> bytes:
        """The page: ``target_info``, the snapshot, and what `further` makes of the names taken."""
        definitions = [
            (each.identity, each.unit, each.description, each.kind, each.bounds)
            for each in snapshot.streams.values()
        ]
        if definitions != self._definitions:
            self._families = self._plan(snapshot)
            self._definitions = definitions
        lines = [self._target_info(resource)]
        for family in self._families:
            lines.append(family.header)
            lines += self._series(family, snapshot)
        text = "".join(lines).encode() + further(self._names)
        return text + b"# EOF\n" if self._openmetrics else text

    def _plan(self, snapshot: Snapshot) -> list[_Family]:
        """The families that there is a name for, in the order of their first streams."""
        groups: dict[str, list[Stream]] = {}
        for stream in snapshot.streams.values():
            if stream.kind == Kind.EXPONENTIAL:
                _logger.warning(
                    f"The metric {stream.name} of {stream.scope} is not shown: Prometheus's text "
                    "formats have no exponential histograms. Push it (OTEL_METRICS_EXPORTER=otlp), "
                    "or give it explicit buckets with a View."
                )
                continue
            sample = _name(stream) + ("_total" if stream.kind == Kind.COUNTER else "")
            group = groups.setdefault(sample, [stream])
            if _type(group[0]) != _type(stream):
                _leave_out(stream, sample)
            elif group[0] is not stream:
                group.append(stream)
        self._names = {"target_info"}
        families: dict[str, _Family] = {}
        # Counters, which can do with one name only, come after those that cannot.
        for sample in sorted(groups, key=lambda each: groups[each][0].kind == Kind.COUNTER):
            group = groups[sample]
            family = self._family(sample, group)
            if family is not None:
                families[sample] = family
                continue
            for stream in group:
                _leave_out(stream, sample)
        return [families[sample] for sample in groups if sample in families]

    def _family(self, sample: str, group: Sequence[Stream]) -> _Family | None:
        """A family, whose names are then taken, or None where they are taken already."""
        first = group[0]
        name, kind, unit = _name(first), _type(first), prometheus_names()[2](first.unit)
        names = names_of(name, kind)
        if not self._names.isdisjoint(names):
            # One sample a series is also valid on its own, as a metric of unknown type.
            if sample == name or sample in self._names:
                return None
            name, names, unit = sample, {sample}, ""
            kind = "unknown" if self._openmetrics else kind
        self._names |= names
        described = name if self._openmetrics else sample
        description = first.description.replace("\\", r"\\").replace("\n", r"\n")
        if self._openmetrics:
            description = description.replace('"', r"\"")
        header = f"# HELP {described} {description}\n# TYPE {described} {kind}\n"
        if self._openmetrics and unit:
            header += f"# UNIT {described} {unit}\n"
        counts = self._openmetrics and kind in (Kind.COUNTER, Kind.HISTOGRAM)
        streams = [
            (each.identity, {} if each.scope == first.scope else {_SCOPE_LABEL: each.scope})
            for each in group
        ]
        return _Family(name, sample, header, streams, counts and self._created, counts)

    def _series(self, family: _Family, snapshot: Snapshot) -> Iterable[str]:
        shown: dict[str, tuple[str, Stream, Point]] = {}
        for identity, extra in family.streams:
            stream = snapshot.streams[identity]
            known, kept = family.series.get(identity, {}), dict[str, _Series]()
            for key, point in stream.points.items():
                series = known.get(key) or self._ready(family, stream, key, extra)
                kept[key] = series
                labels, template = series
                before = shown.get(labels)
                if before is not None:
                    if not before[1].adds_up_with(stream):
                        _leave_out(stream, family.name)
                        continue
                    point = combined(stream.kind, before[2], point)
                shown[labels] = (template, stream, point)
            family.series[identity] = kept
        return [_lines(family, *each) for each in shown.values()]

    def _ready(
        self, family: _Family, stream: Stream, key: str, extra: Mapping[str, str]
    ) -> _Series:
        name, is_histogram = family.sample, stream.kind == Kind.HISTOGRAM
        labels = _labels(attributes_of(key), extra, reserved="le" if is_histogram else "")
        braces = _braces(labels)
        if is_histogram:
            bounds = [*map(floatToGoString, stream.bounds), "+Inf"]
            lines = [f"{name}_bucket{_braces([*labels, _label('le', each)])}" for each in bounds]
            # A sum of negative values can fall, which a counter's must not: OpenMetrics 1.0.
            if not stream.bounds or stream.bounds[0] >= 0:
                lines += [f"{name}_count{braces}", f"{name}_sum{braces}"]
        else:
            lines = [f"{name}{braces}"]
        if family.created:
            lines.append(f"{family.name}_created{braces}")
        return braces, "".join(line.replace("%", "%%") + " %s\n" for line in lines)

    def _target_info(self, resource: Mapping[str, Any]) -> str:
        labels = _braces(_labels(safe_attributes(resource)))
        alone = not self._openmetrics or "target" in self._names
        name, kind = ("target_info", "gauge") if alone else ("target", "info")
        head = f"# HELP {name} Target metadata\n# TYPE {name} {kind}\n"
        return f"{head}target_info{labels} 1.0\n"


def _lines(family: _Family, template: str, stream: Stream, point: Point) -> str:
    """All lines of a series; of a histogram, those of the buckets come first."""
    if isinstance(point, Buckets):
        values: list[str] = [f"{count}.0" for count in accumulate(point.counts)]
        if not stream.bounds or stream.bounds[0] >= 0:
            values += [f"{point.total}.0", _number(point.sum)]
    elif isinstance(point, Number):
        values = [_number(point.value)]
    if family.created:
        values.append(f"{point.start / 1000:.3f}")
    text = template % tuple(values)
    if not point.exemplars or not family.exemplars:
        return text
    lines = text.split("\n")
    for each in point.exemplars:
        lines[each.bucket] += _exemplar(each)
    return "\n".join(lines)


def _exemplar(exemplar: Exemplar) -> str:
    """What follows the value of the sample that an exemplar is of.

    The attributes that a view has left out are added, as the exporter's specification says,
    unless all labels together were then longer than OpenMetrics allows:
    https://prometheus.io/docs/specs/om/open_metrics_spec/#exemplars.
    """
    ids = [f'trace_id="{exemplar.trace}"', f'span_id="{exemplar.span}"']
    labels = ids if exemplar.trace else []
    if exemplar.attributes:
        left_out = _labels(exemplar.attributes)
        more = [*labels, *(label for label in left_out if not label.startswith(_IDS))]
        # Per label, an equals sign and two quotation marks do not count; escaping does here.
        if sum(len(label) - 3 for label in more) <= _MAX_EXEMPLAR_LENGTH:
            labels = more
    text, time = _number(exemplar.value), exemplar.time / 1000
    return f" # {{{','.join(labels)}}} {text} {time:.3f}"


def _leave_out(stream: Stream, name: str) -> None:
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


def _labels(
    attributes: Mapping[str, Any], extra: Mapping[str, str] | None = None, *, reserved: str = ""
) -> list[str]:
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
    return [_label(name, ";".join(values)) for name, values in labels.items()]


def _label(name: str, value: str) -> str:
    value = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{name}="{value}"'


def _braces(labels: Iterable[str]) -> str:
    """Labels in the order of their names, as prometheus_client writes them."""
    text = ",".join(sorted(labels))
    return f"{{{text}}}" if text else ""


def _number(value: Real) -> str:
    return f"{value}.0" if isinstance(value, int) else str(floatToGoString(value))  # type: ignore[no-untyped-call]
