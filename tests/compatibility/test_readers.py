"""The private names of the SDK's meter providers and readers."""

from opentelemetry import metrics
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    InMemoryMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    DropAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource

from telemetry.compatibility.readers import (
    add_metric_reader,
    has_delta_temporality,
    has_exponential_histograms,
    metric_readers,
    resource_of,
    when_reader_is_added,
    without_exponential_histograms,
)
from tests.support.versions import needs


@needs("opentelemetry-sdk", "1.44.0")
def test_the_readers_of_a_meter_provider() -> None:
    reader = InMemoryMetricReader()
    assert list(metric_readers(MeterProvider([reader]))) == [reader]
    assert list(metric_readers(metrics.NoOpMeterProvider())) == []


def test_readers_that_are_added_later() -> None:
    provider, added = MeterProvider(shutdown_on_exit=False), list[object]()
    when_reader_is_added(provider, added.append)
    reader = InMemoryMetricReader()
    assert add_metric_reader(provider, reader)
    assert list(metric_readers(provider)) == [reader]
    when_reader_is_added(object(), added.append)
    if hasattr(MeterProvider, "add_metric_reader"):
        assert added == [reader]


def test_a_view_with_exponential_histograms_is_not_that_of_a_page() -> None:
    views = [
        View(instrument_type=Histogram, aggregation=ExponentialBucketHistogramAggregation()),
        View(instrument_name="left_out", aggregation=DropAggregation()),
    ]
    other = InMemoryMetricReader()
    provider = MeterProvider([other], views=views, shutdown_on_exit=False)
    page = InMemoryMetricReader()
    add_metric_reader(provider, page)
    without_exponential_histograms(provider, page)
    meter = provider.get_meter("x")
    meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1.0]).record(2)
    meter.create_counter("left_out").add(1)
    kinds = []
    for reader in (other, page):
        data = reader.get_metrics_data()
        assert data is not None
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        (point,) = metric.data.data_points
        kinds.append(type(point))
    assert kinds == [ExponentialHistogramDataPoint, HistogramDataPoint]


def test_the_resource_of_a_meter_provider() -> None:
    resource = Resource({"service.name": "shop"})
    assert resource_of(MeterProvider(resource=resource)) is resource
    assert resource_of(metrics.NoOpMeterProvider()) is None


def test_the_temporality_of_a_reader() -> None:
    delta: dict[type, AggregationTemporality] = {Counter: AggregationTemporality.DELTA}
    assert has_delta_temporality(InMemoryMetricReader(preferred_temporality=delta))
    assert not has_delta_temporality(InMemoryMetricReader())


def test_the_aggregation_of_a_reader() -> None:
    own: dict[type, Aggregation] = {Histogram: ExponentialBucketHistogramAggregation()}
    assert has_exponential_histograms(InMemoryMetricReader(preferred_aggregation=own))
    assert not has_exponential_histograms(InMemoryMetricReader())
