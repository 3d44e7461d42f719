"""The private names of what the SDK aggregates."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)

from telemetry.compatibility.aggregations import (
    forget_measurements,
    has_measured,
    has_measured_lately,
    series_limits,
)
from tests.support.versions import needs


def test_what_was_recorded_for_a_reader() -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x")
    called: list[int] = []

    def callback(_: CallbackOptions) -> Iterator[Observation]:
        called.append(1)
        yield Observation(1)

    meter.create_observable_counter("observed", [callback])
    counter = meter.create_counter("counted")
    reader.get_metrics_data()
    assert not has_measured(reader)
    counter.add(7)
    assert has_measured(reader)

    call_again = forget_measurements(reader)
    assert not has_measured(reader)
    counter.add(1)
    assert collected(reader) == {"counted": 1}
    assert len(called) == 1
    call_again()
    assert collected(reader) == {"counted": 1, "observed": 1}


def setting(gauge: Any) -> Callable[[], object]:
    return lambda: gauge.set(time.time())


MEASURES: dict[str, Callable[[Meter], Callable[[], object]]] = {
    "counter": lambda meter: partial(meter.create_counter("x").add, 0),
    "up-down counter": lambda meter: partial(meter.create_up_down_counter("x").add, 0),
    "gauge": lambda meter: setting(meter.create_gauge("x")),
    "histogram": lambda meter: partial(meter.create_histogram("x").record, 0),
    "exponential": lambda meter: partial(meter.create_histogram("exponential").record, 0),
}


@pytest.mark.parametrize("kind", MEASURES)
def test_what_was_recorded_since_a_reader_has_collected(kind: str) -> None:
    reader, other = InMemoryMetricReader(), InMemoryMetricReader()
    aggregation = ExponentialBucketHistogramAggregation()
    views = [
        View(instrument_name="exponential", aggregation=aggregation),
        View(instrument_name="dropped", aggregation=DropAggregation()),
    ]
    meter = MeterProvider([reader, other], views=views, shutdown_on_exit=False).get_meter("x")
    meter.create_observable_counter("observed", [lambda _: [Observation(1)]])
    dropped, measure = meter.create_counter("dropped"), MEASURES[kind](meter)
    gauges: dict[Any, Any] = {}
    for _ in range(3):
        dropped.add(1)
        assert not has_measured_lately(reader, gauges)
        measure()
        other.get_metrics_data()
        assert has_measured_lately(reader, gauges)
        reader.get_metrics_data()


def collected(reader: InMemoryMetricReader) -> dict[str, float]:
    data: Any = reader.get_metrics_data()
    return {
        metric.name: point.value
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }


@needs("opentelemetry-sdk", "1.45.2")
def test_the_limits_of_series() -> None:
    reader = InMemoryMetricReader()
    views = [View(instrument_name="few", aggregation_cardinality_limit=7)]
    provider = MeterProvider([reader], shutdown_on_exit=False, views=views)
    for name in ("few", "many"):
        provider.get_meter("x").create_counter(name).add(1)
    assert series_limits(reader) == {("x", "few"): 7, ("x", "many"): 2000}
