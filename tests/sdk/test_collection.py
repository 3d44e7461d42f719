"""From the SDK's data to a snapshot: what is made safe, what is left out, and when series began."""

import time
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, InMemoryMetricReader, MetricsData

from telemetry.sdk import collection as module
from telemetry.sdk.collection import Collection
from telemetry.sdk.points import Number


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
