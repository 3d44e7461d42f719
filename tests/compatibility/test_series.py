"""The private names of what the SDK collects."""

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
)

from telemetry.compatibility.series import Series, aggregations_of
from tests.support.versions import needs


def test_what_a_reader_aggregates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.compatibility.aggregations.DIRECT", True)
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x")
    record = meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1.0]).record
    meter.create_observable_gauge("g", [lambda _: [Observation(3)]])
    found = aggregations_of(reader)
    assert found is not None
    (gauge,) = found.asynchronous()
    with found.lock:
        found.observe(gauge)
    record(0.5)
    views = [Series(*each) for each in found.views()]
    assert [each.is_synchronous for each in views] == [False, True]
    assert [each.scope.name for each in views] == ["x", "x"]
    (index, aggregation), (_, last) = *views[1].changed(), *views[0].changed()
    assert views[0].collect(0, last, False).value == 3
    assert (
        views[1].metric(views[1].collect(index, aggregation, False)).data.data_points[0].sum == 0.5
    )
    assert list(views[1].changed()) == []
    record(2)
    assert list(views[1].changed()) == [(index, aggregation)]
    assert views[1].collect(index, aggregation, True) == ([1, 1], 2.5, 0.5, 2)
    # Another one has collected.
    reader.collect()
    assert list(views[1].changed()) == [(index, aggregation)]


@pytest.mark.parametrize("differs", ["switched off", "deltas", "another kind", "another SDK"])
def test_all_is_collected_by_the_reader_where_something_is_unknown(
    differs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telemetry.compatibility.aggregations.DIRECT", differs != "switched off")
    delta: dict[type, AggregationTemporality] = {Counter: AggregationTemporality.DELTA}
    reader = InMemoryMetricReader(preferred_temporality=delta if differs == "deltas" else None)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("x").create_counter("c").add(1)
    if differs == "another kind":
        monkeypatch.setattr("telemetry.compatibility.series._KINDS", set())
    assert aggregations_of(object() if differs == "another SDK" else reader) is None


@needs("opentelemetry-sdk", "1.45.2")
def test_all_is_collected_by_the_reader_where_the_sdk_measures_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telemetry.compatibility.aggregations.DIRECT", True)
    for setting in ("false", "true"):
        monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", setting)
        reader = InMemoryMetricReader()
        MeterProvider([reader], shutdown_on_exit=False)
        assert (aggregations_of(reader) is None) == (setting == "true")
