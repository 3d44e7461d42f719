"""A snapshot as text that Prometheus reads."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from sys import intern

from prometheus_client.utils import floatToGoString

from telemetry.sdk.exposition.families import Family, FamilyWriter, Labels, exemplar_labels
from telemetry.sdk.points import Buckets, Exemplar, Number, Point
from telemetry.sdk.safe import Real
from telemetry.sdk.snapshot import Kind

# Series that are handed over together: some 50 KB of histograms, for which gzip needs 0.2 ms.
_SLICE = 32

_Labels = tuple[str, str]
"""All labels of a series, and those that come before ``le`` in its buckets."""


class TextWriter(FamilyWriter):
    """Writes snapshots in the Prometheus text format 0.0.4 or in OpenMetrics 1.0."""

    def __init__(self, openmetrics: bool, created: bool = True) -> None:
        super().__init__()
        self.openmetrics = openmetrics
        self.end = b"# EOF\n" if openmetrics else b""
        self._created = created

    def target(self, labels: Labels) -> bytes:
        """The resource as a family."""
        alone = not self.openmetrics or "target" in self.names
        name, kind = ("target_info", "gauge") if alone else ("target", "info")
        head = f"# HELP {name} Target metadata\n# TYPE {name} {kind}\n"
        return f"{head}target_info{self.labels(labels)[0]} 1.0\n".encode()

    def family(self, family: Family, series: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
        """The lines that describe a family, and those of its series."""
        name = family.name if self.openmetrics else family.sample
        description = family.description.replace("\\", r"\\").replace("\n", r"\n")
        if self.openmetrics:
            description = description.replace('"', r"\"")
        header = f"# HELP {name} {description}\n# TYPE {name} {family.kind}\n"
        if self.openmetrics:
            # Without it, Prometheus's type-and-unit-labels take the unit of the family before.
            header += f"# UNIT {name} {family.unit}\n"
        yield [header.encode()]
        for first in range(0, len(series), _SLICE):
            yield series[first : first + _SLICE]

    def bounds(self, bounds: Sequence[float]) -> str:
        """A format with a line for each bucket, without its name and its other labels."""
        return "\n".join(f"{bound} %d" for bound in (*map(floatToGoString, bounds), "+Inf"))

    def labels(self, labels: Labels) -> _Labels:
        """All labels in the order of their names, and those that come before ``le``."""
        texts = sorted(_label(*each) for each in labels)
        every = ",".join(texts)
        # Several metrics have series with the same labels: their text is kept once.
        whole = intern(f"{{{every}}}" if every else "")
        return whole, "".join(f"{each}," for each in texts if each < "le=")

    def series(self, family: Family, bounds: str, labels: _Labels, point: Point) -> bytes:
        """All lines of a series; of a histogram, those of the buckets come first."""
        name, (whole, before) = family.sample, labels
        if isinstance(point, Buckets):
            after = whole[len(before) + 1 : -1]
            start, end = f'{name}_bucket{{{before}le="', f'",{after}}} ' if after else '"} '
            # String methods format all buckets at once. Labels may have spaces, but no line feeds.
            lines = (bounds % tuple(accumulate(point.counts))).replace(" ", end)
            lines = f"{start}{lines}".replace("\n", f".0\n{start}") + ".0\n"
            # With negative values a sum can decrease, which OpenMetrics 1.0 does not allow.
            if not bounds.startswith("-"):
                lines += f"{name}_count{whole} {point.total}.0\n"
                lines += f"{name}_sum{whole} {_number(point.sum)}\n"
        elif isinstance(point, Number):
            lines = f"{name}{whole} {_number(point.value)}\n"
        # Only OpenMetrics has exemplars, and lines that say when a series began.
        counts = self.openmetrics and family.kind in (Kind.COUNTER, Kind.HISTOGRAM)
        if counts and self._created:
            lines += f"{family.name}_created{whole} {point.start / 1000:.3f}\n"
        if counts and point.exemplars:
            separate = lines.split("\n")
            for each in point.exemplars:
                separate[each.bucket] += _exemplar(each)
            lines = "\n".join(separate)
        return lines.encode()


def _exemplar(exemplar: Exemplar) -> str:
    """What follows the value of the sample that an exemplar is of."""
    labels = ",".join(_label(*each) for each in exemplar_labels(exemplar))
    return f" # {{{labels}}} {_number(exemplar.value)} {exemplar.time / 1000:.3f}"


def _label(name: str, value: str) -> str:
    value = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{name}="{value}"'


def _number(value: Real) -> str:
    return f"{value}.0" if isinstance(value, int) else str(floatToGoString(value))  # type: ignore[no-untyped-call]
