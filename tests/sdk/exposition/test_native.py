"""The protobuf format: all that text has, sample by sample, and native histograms."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from telemetry.sdk.collection import Collection
from telemetry.sdk.exposition.classic import ClassicBuckets
from telemetry.sdk.exposition.native import NativeWriter
from telemetry.sdk.exposition.text import TextWriter
from telemetry.sdk.snapshot import Snapshot
from tests.sdk.exposition.test_text import INSTRUMENTS, measure_all
from tests.support import protobuf
from tests.support.series import parse
from tests.support.versions import needs

EXPONENTIAL = ExponentialBucketHistogramAggregation()


class Metrics:
    """A meter whose histograms are exponential, and its page."""

    def __init__(self, *views: View, exponential: bool = True) -> None:
        own: Any = {Histogram: EXPONENTIAL} if exponential else None
        self.reader = InMemoryMetricReader(preferred_aggregation=own)
        self.provider = MeterProvider(
            [self.reader],
            views=views,
            exemplar_filter=AlwaysOnExemplarFilter(),
            shutdown_on_exit=False,
        )
        self.meter: Meter = self.provider.get_meter("scope")
        self._collection, self._classic = Collection(), ClassicBuckets()
        self._writer = NativeWriter()

    def snapshot(self) -> Snapshot:
        data = self.reader.get_metrics_data()
        return self._collection.snapshot(data, 0) if data else Snapshot()

    def page(self, snapshot: Snapshot | None = None) -> protobuf.Page:
        snapshot = snapshot or self.snapshot()
        return protobuf.decode(self._writer.write(self._classic.of(snapshot), {"a.b": 1}))


def openmetrics(text: str) -> tuple[Any, Any, Any]:
    """The samples of a page in OpenMetrics, when its series began, and its exemplars."""
    series, created, exemplars = {}, {}, {}
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            if sample.name.endswith("_created") and family.type != "gauge":
                created[key] = round(float(sample.value), 3)
            else:
                series[key] = sample.value
            if sample.exemplar:
                labels = frozenset(sample.exemplar.labels.items())
                time = round(float(sample.exemplar.timestamp), 3)
                exemplars[key] = labels, sample.exemplar.value, time
    return series, created, exemplars


@needs("opentelemetry-exporter-prometheus", "0.64b0")
@pytest.mark.parametrize("exponential", [False, True])
@settings(deadline=None, max_examples=150)
@given(instruments=INSTRUMENTS)
def test_it_has_what_text_has_sample_by_sample(exponential: bool, instruments: list[Any]) -> None:
    metrics = Metrics(exponential=exponential)
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("x")
    with tracer.start_as_current_span("one"):
        measure_all(metrics.provider, instruments)
    snapshot = metrics.snapshot()
    page = metrics.page(snapshot)
    classic = ClassicBuckets().of(snapshot)
    assert page.series == parse(TextWriter(False).write(classic, {"a.b": 1}).decode())
    text = TextWriter(True).write(classic, {"a.b": 1}).decode()
    series, created, exemplars = openmetrics(text)
    assert page.series == series
    # Of a counter that has to be shown as unknown, OpenMetrics can tell neither.
    assert created.items() <= page.created.items()
    assert exemplars.items() <= page.exemplars.items()
    if "unknown" not in text:
        assert (created, exemplars) == (page.created, page.exemplars)
    natives = {name for name, (kind, _, _) in page.types.items() if kind == "histogram"}
    assert {name for name, _ in page.natives} == (natives if exponential else set())


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0, 1e9, allow_subnormal=False), min_size=1, max_size=50))
def test_native_buckets_have_each_value(values: list[float]) -> None:
    metrics = Metrics()
    histogram = metrics.meter.create_histogram("h")
    for value in values:
        histogram.record(value)
    (native,) = metrics.page().natives.values()
    assert native.count == len(values) == native.zeros + sum(native.buckets.values())
    assert native.zeros == values.count(0)
    wide = 2.0**2.0**-native.schema
    for bound, count in native.counts.items():
        # A value that is a bound to the last bit may be on either side of what this computes.
        low, high = bound / wide * (1 - 1e-9), bound * (1 + 1e-9)
        assert sum(low < value <= high for value in values) >= count
        assert sum(low * (1 + 2e-9) < value <= high * (1 - 2e-9) for value in values) <= count


def test_what_prometheus_has_no_schema_for_is_coarser_or_classic_only() -> None:
    metrics = Metrics(
        View(instrument_name="wide", aggregation=ExponentialBucketHistogramAggregation(max_size=2))
    )
    metrics.meter.create_histogram("fine").record(3)
    wide = metrics.meter.create_histogram("wide")
    for value in (1e-300, 1, 1e300):
        wide.record(value)
    page = metrics.page()
    assert {name: native.schema for (name, _), native in page.natives.items()} == {"fine": 8}
    assert page.series["wide_count", frozenset()] == 3


def test_zeros_alone_are_a_native_histogram_too() -> None:
    metrics = Metrics()
    metrics.meter.create_histogram("h").record(0)
    (native,) = metrics.page().natives.values()
    assert (native.zeros, native.count, native.buckets) == (1, 1, {})


def test_units_descriptions_and_exemplars() -> None:
    metrics = Metrics()
    histogram = metrics.meter.create_histogram("wait", "s", 'With "all"\nof it.')
    for value in (1, 3):
        histogram.record(value)
    page = metrics.page()
    assert page.types["wait_seconds"] == ("histogram", 'With "all"\nof it.', "seconds")
    (native,) = page.natives.values()
    assert native.exemplars == [1, 3]
    assert page.series["target_info", frozenset({("a_b", "1")})] == 1


def test_a_series_that_has_rested_is_not_written_again() -> None:
    metrics = Metrics()
    histogram = metrics.meter.create_histogram("h")
    histogram.record(1)
    snapshot = metrics.snapshot()
    first, second = metrics.page(snapshot), metrics.page(snapshot)
    assert first == second
    histogram.record(5)
    assert metrics.page().series["h_count", frozenset()] == 2
