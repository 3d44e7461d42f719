"""Families of prometheus_client in Prometheus's protobuf format."""

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import Metric
from prometheus_client.samples import Sample

from telemetry.sdk.exposition import protobuf
from telemetry.sdk.exposition.protobuf import Type, double, embedded, whole

_TYPES = {"counter": Type.COUNTER, "summary": Type.SUMMARY, "histogram": Type.HISTOGRAM}
_GAUGES = ("gauge", "info", "stateset", "gaugehistogram")
# The label that tells apart the samples of one series, and the suffix of these samples.
_PARTS = {Type.SUMMARY: ("quantile", ""), Type.HISTOGRAM: ("le", "_bucket")}

_Labels = tuple[tuple[str, str], ...]


def protobuf_family(collected: Any) -> bytes:
    """A family, which the text format 0.0.4 may show as several, in the same families."""
    metric: Metric
    (metric,) = collected.collect()
    kind = _TYPES.get(metric.type, Type.GAUGE if metric.type in _GAUGES else Type.UNTYPED)
    created = {
        _labels(each): round(each.value * 1000)
        for each in metric.samples
        if each.name == f"{metric.name}_created"
    }
    samples = [each for each in metric.samples if each.name != f"{metric.name}_created"]
    families: dict[str, tuple[Type, list[bytes]]] = {}
    if kind in _PARTS:
        try:
            families[metric.name] = kind, [*_series(metric.name, kind, samples, created)]
            samples = []
        except ValueError:
            # Each sample is also valid on its own.
            kind = Type.UNTYPED
    for each in samples:
        own = families.setdefault(each.name, (kind, []))[1]
        value = double(1, each.value)
        if kind is Type.COUNTER:
            value += _exemplar(2, each) + _created(3, created.get(_labels(each)))
        own.append(_metric(kind, _labels(each), value, each.timestamp))
    return b"".join(
        protobuf.family(name, metric.documentation, own, metric.unit, metrics)
        for name, (own, metrics) in families.items()
    )


def _series(
    name: str, kind: Type, samples: Iterable[Sample], created: dict[_Labels, int]
) -> Iterator[bytes]:
    """The series of a summary or a histogram; ValueError where one is not whole."""
    label, suffix = _PARTS[kind]
    groups: dict[tuple[_Labels, Any], list[Sample]] = {}
    for each in samples:
        groups.setdefault((_labels(each, without=label), each.timestamp), []).append(each)
    for (labels, timestamp), group in groups.items():
        parts = [each for each in group if each.name == name + suffix and label in each.labels]
        numbers = {each.name: each.value for each in group if label not in each.labels}
        whole_series = len(numbers) + len(parts) == len(group)
        if not whole_series or numbers.keys() != {f"{name}_count", f"{name}_sum"}:
            raise ValueError("it has no count or no sum, or something else")
        start = created.get(labels)
        total, sum_ = numbers[f"{name}_count"], double(2, numbers[f"{name}_sum"])
        if kind is Type.HISTOGRAM:
            value = _count(total) + sum_ + _buckets(parts) + _created(15, start)
        else:
            if not _is_natural(total):
                raise ValueError("a summary counts whole values")
            value = whole(1, int(total)) + sum_ + _quantiles(parts) + _created(4, start)
        yield _metric(kind, labels, value, timestamp)


def _buckets(parts: Iterable[Sample]) -> bytes:
    return b"".join(
        embedded(3, _count(each.value) + double(2, float(each.labels["le"])) + _exemplar(3, each))
        for each in parts
    )


def _quantiles(parts: Iterable[Sample]) -> bytes:
    return b"".join(
        embedded(3, double(1, float(each.labels["quantile"])) + double(2, each.value))
        for each in parts
    )


def _count(number: float) -> bytes:
    return whole(1, int(number)) if _is_natural(number) else double(4, number)


def _is_natural(number: float) -> bool:
    return number >= 0 and float(number).is_integer()


def _labels(sample: Sample, without: str = "") -> _Labels:
    return tuple(sorted(each for each in sample.labels.items() if each[0] != without))


def _metric(kind: Type, labels: _Labels, value: bytes, timestamp: Any) -> bytes:
    time = None if timestamp is None else int(float(timestamp) * 1000)
    return protobuf.metric(kind, protobuf.labels(1, labels), value, time)


def _created(field: int, milliseconds: int | None) -> bytes:
    return b"" if milliseconds is None else protobuf.timestamp(field, milliseconds)


def _exemplar(field: int, sample: Sample) -> bytes:
    if sample.exemplar is None:
        return b""
    labels, value, timestamp = sample.exemplar
    time = None if timestamp is None else round(float(timestamp) * 1000)
    return protobuf.exemplar(field, labels.items(), value, time)
