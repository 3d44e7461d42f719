"""Whatever an application measures, no exporter refuses it, and no series is there twice."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from telemetry.sdk import collection as module
from telemetry.sdk.collection import Collection, made_safe
from telemetry.sdk.exposition.text import TextWriter
from telemetry.sdk.push import metrics_data
from telemetry.sdk.snapshot import attributes_of
from telemetry.sdk.total import Part, Total
from telemetry.sdk.workers.lines import Reader, Writer
from tests.support.versions import needs

SURROGATES = st.sampled_from(["\ud800", "\ud801", "\udcff", r"\ud800"])
TEXTS = st.one_of(
    st.sampled_from(["", "a", "a.b", "a_b", "le", "1", "true", 'x"\n\\', "\x00", "é", "\r"]),
    SURROGATES,
    st.text(st.characters(codec=None), max_size=5),
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, True, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**19, 10**308]),
    st.sampled_from([10**400, Decimal("1.5"), Decimal("1e400"), Fraction(1, 3)]),
    st.sampled_from(
        [numpy.int64(3), numpy.float32(1.5), numpy.bool_(True), numpy.uint64(2**64 - 1)]
    ),
    st.sampled_from([float("nan"), float("inf"), -0.0, 1e308, 5e-324]),
    st.integers(),
    st.floats(),
)
ANYTHING = st.recursive(
    st.one_of(NUMBERS, TEXTS, st.binary(max_size=3), st.none(), st.builds(object)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(TEXTS, inner, max_size=2),
    ),
    max_leaves=4,
)
ATTRIBUTES = st.dictionaries(TEXTS, st.one_of(TEXTS, ANYTHING), max_size=3)
KINDS = ["counter", "up_down_counter", "gauge", "histogram"]
INSTRUMENT = st.tuples(
    st.sampled_from(KINDS),
    TEXTS,
    st.sampled_from(["", "s", "By", "1", "{x}", "a/b", "%", "a b"]),
    TEXTS,
    TEXTS,
    st.lists(st.tuples(NUMBERS, ATTRIBUTES), max_size=4),
)


def measured(instruments: Sequence[Any]) -> MetricsData:
    """What the SDK has of it; what the SDK refuses by an error is the caller's."""
    reader = InMemoryMetricReader()
    views = [
        View(instrument_name=f"i{number}", name=name)
        for number, (_, name, *_) in enumerate(instruments)
        if name
    ]
    provider = MeterProvider([reader], views=views, shutdown_on_exit=False)
    for number, (kind, _, unit, description, scope, measurements) in enumerate(instruments):
        meter = provider.get_meter(scope or "x")
        instrument = getattr(meter, f"create_{kind}")(f"i{number}", unit, description)
        method = {"gauge": "set", "histogram": "record"}.get(kind, "add")
        for value, attributes in measurements:
            with suppress(Exception):
                getattr(instrument, method)(value, attributes)
    return reader.get_metrics_data() or MetricsData([])


def points_of(request: Any) -> list[tuple[Any, ...]]:
    """The points of an OTLP request, by all that tells them apart but the numbers."""
    request.SerializeToString()
    return [
        (
            *(scope.scope.name, metric.name, metric.unit, metric.description, number),
            point.SerializeToString(deterministic=True) if not point.attributes else "",
            tuple(each.SerializeToString(deterministic=True) for each in point.attributes),
        )
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for number, metric in enumerate(scope.metrics)
        for point in getattr(metric, metric.WhichOneof("data")).data_points
    ]


def series_of(text: str, parse: Callable[[str], Any]) -> None:
    seen = set()
    for family in parse(text):
        for sample in family.samples:
            labels = frozenset(item for item in sample.labels.items() if item[1])
            assert (sample.name, labels) not in seen, f"twice: {sample.name}{labels}"
            seen.add((sample.name, labels))


# The encoder of older versions leaves out attributes that are None.
@needs("opentelemetry-sdk", "1.45.0")
@settings(deadline=None, max_examples=150)
@given(instruments=st.lists(INSTRUMENT, max_size=4), resource=ATTRIBUTES)
def test_every_exporter_takes_everything(instruments: list[Any], resource: dict[str, Any]) -> None:
    data = measured(instruments)
    snapshot = Collection().snapshot(data, 0)
    text = Writer().write(snapshot)
    assert Writer().write(Reader().read(text)) == text
    # As two workers have it.
    both = Total(lambda _: 2_000).of([Part(snapshot), Part(snapshot)])
    for each in (snapshot, both):
        series_of(TextWriter(False).write(each, resource).decode(), parse_text)
        series_of(TextWriter(True).write(each, resource).decode(), parse_openmetrics)
        points = points_of(encode_metrics(metrics_data(each, Resource({}))))
        assert len(points) == len(set(points))
        wanted = [
            len(attributes_of(key)) for stream in each.streams.values() for key in stream.points
        ]
        assert sorted(wanted) == sorted(len(point[-1]) for point in points)


@settings(deadline=None, max_examples=150)
@given(instruments=st.lists(INSTRUMENT, max_size=4))
def test_deltas_are_encoded_as_well(instruments: list[Any]) -> None:
    points_of(encode_metrics(made_safe(measured(instruments))))


def test_both_protocols_have_one_encoder() -> None:
    for exporter in (http, grpc):
        encode: Any = exporter.encode_metrics
        assert getattr(encode, "__wrapped__", encode) is encode_metrics


def test_what_a_resource_says_is_kept() -> None:
    resource = Resource({"broken": "\ud800", "huge": 10**30, "good": "x"})
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    provider.get_meter("x").create_counter("c").add(1)
    data = reader.get_metrics_data() or MetricsData([])
    for each in (made_safe(data), metrics_data(Collection().snapshot(data, 0), resource)):
        (encoded,) = encode_metrics(each).resource_metrics
        assert {"broken", "huge", "good"} <= {item.key for item in encoded.resource.attributes}


@pytest.mark.parametrize("kind", KINDS)
def test_an_integer_that_is_too_large_is_a_float_and_is_told_once(
    kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._logger, "filters", [])
    data = measured([(kind, "", "", "", "", [(10**19, {}), (1, {"good": 1})])])
    collection = Collection()
    for _ in range(3):
        snapshot = collection.snapshot(data, 0)
    assert len(points_of(encode_metrics(metrics_data(snapshot, Resource({}))))) == 2
    assert " 1e+19" in TextWriter(False).write(snapshot, {}).decode()
    assert caplog.text.count("are rounded") == (kind != "histogram")
