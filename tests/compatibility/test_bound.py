"""Values that are added straight to the SDK's aggregations are those that its own methods add."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.metrics import Counter, Histogram
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    MeterProvider,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics import Counter as SdkCounter
from opentelemetry.sdk.metrics import Histogram as SdkHistogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)

from telemetry.compatibility.aggregations import forget_measurements
from telemetry.compatibility.bound import Bound
from telemetry.compatibility.readers import add_metric_reader

DELTA: dict[type, Any] = dict.fromkeys((SdkCounter, SdkHistogram), AggregationTemporality.DELTA)
READERS: Sequence[Callable[[], InMemoryMetricReader]] = (
    InMemoryMetricReader,
    lambda: InMemoryMetricReader(preferred_temporality=DELTA),
    lambda: InMemoryMetricReader(
        preferred_aggregation={SdkHistogram: ExponentialBucketHistogramAggregation()}
    ),
)
VIEWS = (
    View(instrument_name="*", attribute_keys={"path"}),
    View(instrument_name="h", aggregation=ExplicitBucketHistogramAggregation((1, 2), False)),
    View(instrument_name="h", aggregation=ExponentialBucketHistogramAggregation()),
    View(instrument_name="h", aggregation=DropAggregation()),
    View(instrument_name="c", name="renamed"),
)
FILTERS = (AlwaysOffExemplarFilter, AlwaysOnExemplarFilter, TraceBasedExemplarFilter)
ATTRIBUTES = tuple({"method": method, "path": path} for method in "ab" for path in "xyz")
VALUES = st.lists(st.sampled_from((0.0, 0.5, 1.0, 3.25, 1e9)), min_size=1, max_size=5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("hc"), st.integers(0, 5), VALUES),
        st.tuples(st.just("collect"), st.integers(0, 2), st.just([0.0])),
    ),
    max_size=25,
)


class Service:
    """A provider with several readers, and a counter and a histogram."""

    def __init__(
        self, readers: Sequence[int], views: Sequence[View], exemplars: Any, *, direct: bool
    ) -> None:
        self.readers = [READERS[each]() for each in readers]
        provider = MeterProvider(
            self.readers, exemplar_filter=exemplars(), views=views, shutdown_on_exit=False
        )
        meter = provider.get_meter("x")
        self.instruments: dict[str, Counter | Histogram] = {
            "h": meter.create_histogram("h"),
            "c": meter.create_counter("c"),
        }
        self.direct = direct
        self.bound: dict[tuple[str, int], Bound] = {}

    def add(self, name: str, attributes: int, values: Sequence[float]) -> None:
        instrument = self.instruments[name]
        if self.direct:
            key = (name, attributes)
            self.bound.setdefault(key, Bound(instrument, ATTRIBUTES[attributes])).add(values)
            return
        for value in values:
            if isinstance(instrument, Counter):
                instrument.add(value, ATTRIBUTES[attributes])
            else:
                instrument.record(value, ATTRIBUTES[attributes])

    def collected(self, reader: int) -> Any:
        data = self.readers[reader % len(self.readers)].get_metrics_data()
        return [
            (metric.name, type(metric.data).__name__, _told(point))
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        ]


def _told(point: Any) -> dict[str, Any]:
    fields = {name: getattr(point, name) for name in type(point).__dataclass_fields__}
    # Which of its values a sum keeps as examples is left to chance.
    by_chance = "bucket_counts" not in fields
    fields["exemplars"] = [by_chance or each.value for each in fields["exemplars"]]
    return {name: value for name, value in fields.items() if not name.endswith("time_unix_nano")}


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    readers=st.lists(st.integers(0, 2), min_size=1, max_size=3),
    views=st.lists(st.sampled_from(VIEWS), max_size=3),
    exemplars=st.sampled_from(FILTERS),
    steps=STEPS,
)
def test_both_ways_collect_the_same(
    readers: list[int], views: list[View], exemplars: Any, steps: list[Any]
) -> None:
    direct, public = (Service(readers, views, exemplars, direct=each) for each in (True, False))
    for name, number, values in steps:
        if name == "collect":
            assert direct.collected(number) == public.collected(number)
        else:
            for service in (direct, public):
                service.add(name, number, values)
    for number in range(len(readers)):
        assert direct.collected(number) == public.collected(number)


def bound(**options: Any) -> tuple[Bound, InMemoryMetricReader, MeterProvider]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False, **options)
    return Bound(provider.get_meter("x").create_histogram("h"), {"a": "b"}), reader, provider


def count(reader: InMemoryMetricReader) -> int:
    data = reader.get_metrics_data()
    if data is None:
        return 0
    point: Any = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0]
    assert math.isfinite(point.sum)
    return int(point.count)


def test_what_is_known_is_added_to_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.compatibility.aggregations.DIRECT", True)
    one, reader, _ = bound()
    one.add([1.0])
    assert one.is_direct
    one.add([2.0, 3.0])
    assert count(reader) == 3


def test_a_reader_that_joins_later_has_what_comes_later() -> None:
    one, reader, provider = bound()
    one.add([1.0])
    one.add([1.0])
    later = InMemoryMetricReader()
    add_metric_reader(provider, later)
    one.add([1.0])
    one.add([1.0])
    assert (count(reader), count(later)) == (4, 2)


def test_what_is_forgotten_is_not_added_to() -> None:
    one, reader, _ = bound()
    one.add([1.0])
    one.add([1.0])
    forget_measurements(reader)()
    one.add([1.0])
    one.add([1.0])
    assert count(reader) == 2


def test_another_vendors_instrument_is_called() -> None:
    class Theirs(Histogram):
        def __init__(self) -> None:
            self.values: list[float] = []

        def record(self, amount: float, attributes: Any = None, context: Any = None) -> None:
            self.values.append(amount)

    theirs = Theirs()
    one = Bound(theirs, {})
    one.add([1.0, 2.0])
    one.add([3.0])
    assert theirs.values == [1.0, 2.0, 3.0]
    assert not one.is_direct
