"""Prometheus's protobuf format, read by Google's library from the published field numbers.

https://github.com/prometheus/client_model/blob/v0.6.2/io/prometheus/client/metrics.proto
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from itertools import accumulate
from types import SimpleNamespace
from typing import Any

from prometheus_client.utils import floatToGoString

from tests.support.series import Series

# There are no stubs of it among the packages for development.
_google: Any = SimpleNamespace(
    **{
        name: import_module(f"google.protobuf.{name}")
        for name in ("descriptor_pb2", "descriptor_pool", "message_factory", "unknown_fields")
    }
)

ACCEPT = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)
_MESSAGES = {
    "Timestamp": "seconds int64 1, nanos int32 2",
    "LabelPair": "name string 1, value string 2",
    "Exemplar": "label LabelPair* 1, value double 2, timestamp Timestamp 3",
    "Gauge": "value double 1",
    "Counter": "value double 1, exemplar Exemplar 2, created_timestamp Timestamp 3",
    "Quantile": "quantile double 1, value double 2",
    "Summary": (
        "sample_count uint64 1, sample_sum double 2, quantile Quantile* 3, "
        "created_timestamp Timestamp 4"
    ),
    "Untyped": "value double 1",
    "Bucket": (
        "cumulative_count uint64 1, cumulative_count_float double 4, upper_bound double 2, "
        "exemplar Exemplar 3"
    ),
    "BucketSpan": "offset sint32 1, length uint32 2",
    "Histogram": (
        "sample_count uint64 1, sample_count_float double 4, sample_sum double 2, "
        "bucket Bucket* 3, created_timestamp Timestamp 15, schema sint32 5, "
        "zero_threshold double 6, zero_count uint64 7, zero_count_float double 8, "
        "negative_span BucketSpan* 9, negative_delta sint64* 10, negative_count double* 11, "
        "positive_span BucketSpan* 12, positive_delta sint64* 13, positive_count double* 14, "
        "exemplars Exemplar* 16"
    ),
    "Metric": (
        "label LabelPair* 1, gauge Gauge 2, counter Counter 3, summary Summary 4, "
        "untyped Untyped 5, histogram Histogram 7, timestamp_ms int64 6"
    ),
    "MetricFamily": "name string 1, help string 2, type int32 3, metric Metric* 4, unit string 5",
}
_TYPES = ["counter", "gauge", "summary", "untyped", "histogram", "gauge_histogram"]
_VALUES = {"counter": "counter", "gauge": "gauge", "untyped": "untyped"}

Labels = frozenset[tuple[str, str]]


@dataclass
class Native:
    """A native histogram, and how many values are up to which upper bound of its buckets."""

    schema: int
    zeros: int
    count: int
    sum: float
    buckets: dict[int, int]
    exemplars: list[float]

    @property
    def counts(self) -> dict[float, int]:
        """The counts by the upper bounds."""
        return {2 ** (index * 2**-self.schema): count for index, count in self.buckets.items()}


@dataclass
class Page:
    """What a page has, by the names and labels that text gives it."""

    types: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """By the family's name: its type, description and unit."""
    series: Series = field(default_factory=dict)
    created: Series = field(default_factory=dict)
    exemplars: dict[tuple[str, Labels], tuple[Labels, float, float]] = field(default_factory=dict)
    natives: dict[tuple[str, Labels], Native] = field(default_factory=dict)


@cache
def _family_class() -> Any:
    fields_of = _google.descriptor_pb2.FieldDescriptorProto
    file = _google.descriptor_pb2.FileDescriptorProto(
        name="metrics.proto", package="io.prometheus.client"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for each in fields.split(", "):
            own, kind, number = each.split(" ")
            repeated = kind.endswith("*")
            kind = kind.removesuffix("*")
            one = message.field.add(
                name=own,
                number=int(number),
                label=fields_of.LABEL_REPEATED if repeated else fields_of.LABEL_OPTIONAL,
            )
            if kind in _MESSAGES:
                one.type = fields_of.TYPE_MESSAGE
                one.type_name = f".io.prometheus.client.{kind}"
            else:
                one.type = getattr(fields_of, f"TYPE_{kind.upper()}")
    pool = _google.descriptor_pool.DescriptorPool()
    pool.Add(file)
    return _google.message_factory.GetMessageClass(
        pool.FindMessageTypeByName("io.prometheus.client.MetricFamily")
    )


def decode(content: bytes) -> Page:
    """A page; a series or a family that is there twice is an error, and so is an unknown field."""
    page = Page()
    for family in _families(content):
        assert family.name not in page.types, f"twice: {family.name}"
        page.types[family.name] = _TYPES[family.type], family.help, family.unit
        for metric in family.metric:
            labels = frozenset((each.name, each.value) for each in metric.label)
            assert len(metric.label) == len({name for name, _ in labels})
            for name, more, value, exemplar in _samples(family, metric):
                key = name, labels | more
                assert key not in page.series, f"twice: {key}"
                page.series[key] = value
                if exemplar is not None:
                    page.exemplars[key] = _exemplar(exemplar)
            created = next(
                (
                    getattr(metric, kind).created_timestamp
                    for kind in ("counter", "summary", "histogram")
                    if metric.HasField(kind) and getattr(metric, kind).HasField("created_timestamp")
                ),
                None,
            )
            if created is not None:
                name = family.name.removesuffix("_total") if family.type == 0 else family.name
                page.created[f"{name}_created", labels] = _seconds(created)
            if metric.histogram.positive_span or metric.histogram.negative_span:
                page.natives[family.name, labels] = _native(metric.histogram)
    return page


def _families(content: bytes) -> Iterator[Any]:
    position = 0
    while position < len(content):
        length = shift = 0
        while True:
            length |= (content[position] & 127) << shift
            position, shift, more = position + 1, shift + 7, content[position] & 128
            if not more:
                break
        family = _family_class()()
        family.ParseFromString(content[position : position + length])
        assert not _google.unknown_fields.UnknownFieldSet(family)
        position += length
        yield family


def _samples(family: Any, metric: Any) -> Iterator[tuple[str, Labels, float, Any]]:
    none: Labels = frozenset()
    name, kind = family.name, _TYPES[family.type]
    if kind in _VALUES:
        value = getattr(metric, kind)
        exemplar = value.exemplar if kind == "counter" and value.HasField("exemplar") else None
        yield name, none, value.value, exemplar
        return
    own = getattr(metric, kind)
    if kind == "histogram":
        for each in own.bucket:
            more = frozenset({("le", _float(each.upper_bound))})
            count = each.cumulative_count_float or each.cumulative_count
            exemplar = each.exemplar if each.HasField("exemplar") else None
            yield f"{name}_bucket", more, count, exemplar
        total = own.sample_count_float or own.sample_count
    else:
        for each in own.quantile:
            yield name, frozenset({("quantile", _float(each.quantile))}), each.value, None
        total = own.sample_count
    yield f"{name}_count", none, total, None
    yield f"{name}_sum", none, own.sample_sum, None


def _native(histogram: Any) -> Native:
    assert not histogram.negative_span
    assert -4 <= histogram.schema <= 8
    counts = accumulate(histogram.positive_delta)
    buckets: dict[int, int] = {}
    index = 0
    for span in histogram.positive_span:
        index += span.offset
        for _ in range(span.length):
            buckets[index] = next(counts)
            index += 1
    assert next(counts, None) is None
    assert all(each.HasField("timestamp") for each in histogram.exemplars)
    return Native(
        histogram.schema,
        histogram.zero_count,
        histogram.sample_count,
        histogram.sample_sum,
        {index: count for index, count in buckets.items() if count},
        [each.value for each in histogram.exemplars],
    )


def _exemplar(exemplar: Any) -> tuple[Labels, float, float]:
    labels = frozenset((each.name, each.value) for each in exemplar.label)
    return labels, exemplar.value, _seconds(exemplar.timestamp)


def _seconds(time: Any) -> float:
    return float(round(time.seconds + time.nanos / 1e9, 3))


def _float(number: float) -> str:
    return str(floatToGoString(number))  # type: ignore[no-untyped-call]
