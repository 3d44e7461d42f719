"""From the SDK's data to a snapshot: what is made safe, what is left out, and when series began."""

import time
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, InMemoryMetricReader, MetricsData
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
from opentelemetry.sdk.trace import TracerProvider

from telemetry.sdk import collection as module
from telemetry.sdk.collection import Collection
from telemetry.sdk.points import Number
from tests.support.applications import Measured
from tests.support.series import total


def test_a_point_that_is_no_number_costs_only_itself_and_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._logger, "filters", [])
    reader = InMemoryMetricReader()
    MeterProvider([reader], shutdown_on_exit=False).get_meter("x").create_gauge("level").set(1)
    data = reader.get_metrics_data() or pytest.fail("nothing was collected")
    (resource,) = data.resource_metrics
    (scope,) = resource.scope_metrics
    (metric,) = scope.metrics
    assert isinstance(metric.data, Gauge)
    (good,) = metric.data.data_points
    bad: list[Any] = ["7", 1j, None, object(), Fraction(10**400)]
    points = [*(replace(good, value=each, attributes={"bad": 1}) for each in bad), good]
    metrics = [replace(metric, data=replace(metric.data, data_points=points))]
    broken = MetricsData([replace(resource, scope_metrics=[replace(scope, metrics=metrics)])])
    snapshot = Collection().snapshot(broken, 0)
    assert snapshot.streams["x", "level", 0].points == {"{}": Number(1, 0, [])}
    assert [record.getMessage()[:39] for record in caplog.records] == [
        "A value of the metric level of x is lef"
    ] * len(bad)


def test_a_series_began_after_the_collection_that_did_not_have_it() -> None:
    """An observable instrument has counted before it is asked for the first time."""
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x")
    asked = ["a"]
    meter.create_observable_counter(
        "seen", callbacks=[lambda _: [Observation(1, {"of": each}) for each in asked]]
    )
    collection = Collection()

    def starts() -> dict[str, int]:
        began = time.time_ns() // 1_000_000
        data = reader.get_metrics_data()
        assert data is not None
        stream = collection.snapshot(data, began).streams["x", "seen", 0]
        return {key: point.start for key, point in stream.points.items()}

    time.sleep(0.01)
    first = starts()
    assert first == {'{"of":"a"}': collection.started}
    time.sleep(0.01)
    before = time.time_ns() // 1_000_000
    starts()
    time.sleep(0.01)
    asked.append("b")
    last = starts()
    assert last['{"of":"a"}'] == collection.started
    assert before <= last['{"of":"b"}'] < before + 10


def test_of_each_bucket_the_newest_exemplar_is_kept_until_there_is_a_newer_one() -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x")
    histogram = meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1, 5])
    counter = meter.create_counter("c")
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("x")
    collection = Collection()

    def exemplars(name: str) -> list[tuple[int, float]]:
        data = reader.get_metrics_data() or pytest.fail("nothing was collected")
        (point,) = collection.snapshot(data, 0).streams["x", name, 0].points.values()
        return [(each.bucket, each.value) for each in point.exemplars]

    with tracer.start_as_current_span("one"):
        for value in (1, 5, 5.5, 4):
            histogram.record(value)
        counter.add(2)
    assert exemplars("h") == [(0, 1), (1, 4), (2, 5.5)]
    # Neither another collection nor a value outside of any span takes them away.
    histogram.record(3)
    assert exemplars("h") == [(0, 1), (1, 4), (2, 5.5)]
    for _ in range(100):
        with tracer.start_as_current_span("another"):
            histogram.record(2)
    assert exemplars("h") == [(0, 1), (1, 2), (2, 5.5)]
    assert exemplars("c") == [(0, 2)]


def test_of_an_exponential_histogram_they_are_as_many_as_powers_of_two() -> None:
    aggregation = ExponentialBucketHistogramAggregation()
    reader = InMemoryMetricReader(preferred_aggregation={Histogram: aggregation})
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x")
    histogram = meter.create_histogram("h")
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("x")
    collection = Collection()
    for value in range(1, 64):
        with tracer.start_as_current_span("one"):
            histogram.record(value)
        data = reader.get_metrics_data() or pytest.fail("nothing was collected")
        (point,) = collection.snapshot(data, 0).streams["x", "h", 0].points.values()
    assert [each.value for each in point.exemplars] == [1, 3, 7, 15, 31, 63]


def test_what_the_sdk_cannot_collect_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.compatibility.aggregations.DIRECT", True)
    measured = Measured(instrument=False)
    measured.instrument(native_histograms=True)
    meter = measured.provider.get_meter("x")
    histogram, counter = meter.create_histogram("h"), meter.create_counter("c")
    histogram.record(0.0)
    assert total(measured.series(), "h_count") == 1
    # The SDK 1.45 raises "Incorrect merge scale" at each collection from now on.
    histogram.record(2.0**200)
    counter.add(1)
    assert total(measured.series(), "c_total") == 1
    assert total(measured.series(), "h_count") >= 1
