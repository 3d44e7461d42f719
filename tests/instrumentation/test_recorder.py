"""The request series, held to their names, types, labels and buckets."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from telemetry.instrumentation.recorder import recorder_of
from tests.support.applications import Measured
from tests.support.series import label_names, values


def test_the_series_read_as_the_tutorial_defines_them() -> None:
    measured = Measured()
    recorder_of(measured.provider).series("GET", "/items/{id}", 200).record(0.03, 0.02)
    recorder_of(measured.provider).series("GET", "/items/{id}", None).record(20, 7)
    text = measured.client.get("/metrics").text
    wanted = """\
# TYPE app_requests_time_to_first_byte_seconds histogram
app_requests_time_to_first_byte_seconds_bucket{le="0.005",method="GET",path="/items/{id}"} 0.0
app_requests_time_to_first_byte_seconds_bucket{le="0.01",method="GET",path="/items/{id}"} 0.0
app_requests_time_to_first_byte_seconds_bucket{le="0.025",method="GET",path="/items/{id}"} 1.0
app_requests_time_to_first_byte_seconds_bucket{le="0.05",method="GET",path="/items/{id}"} 1.0
app_requests_time_to_first_byte_seconds_bucket{le="0.075",method="GET",path="/items/{id}"} 1.0
app_requests_time_to_first_byte_seconds_bucket{le="0.1",method="GET",path="/items/{id}"} 1.0
app_requests_time_to_first_byte_seconds_bucket{le="0.25",method="GET",path="/items/{id}"} 1.0
app_requests_time_to_first_byte_seconds_bucket{le="0.5",method="GET",path="/items/{id}"} 1.0
app_requests_time_to_first_byte_seconds_bucket{le="0.75",method="GET",path="/items/{id}"} 1.0
app_requests_time_to_first_byte_seconds_bucket{le="1.0",method="GET",path="/items/{id}"} 1.0
app_requests_time_to_first_byte_seconds_bucket{le="2.5",method="GET",path="/items/{id}"} 1.0
app_requests_time_to_first_byte_seconds_bucket{le="5.0",method="GET",path="/items/{id}"} 1.0
app_requests_time_to_first_byte_seconds_bucket{le="7.5",method="GET",path="/items/{id}"} 2.0
app_requests_time_to_first_byte_seconds_bucket{le="10.0",method="GET",path="/items/{id}"} 2.0
app_requests_time_to_first_byte_seconds_bucket{le="+Inf",method="GET",path="/items/{id}"} 2.0
app_requests_time_to_first_byte_seconds_count{method="GET",path="/items/{id}"} 2.0
app_requests_time_to_first_byte_seconds_sum{method="GET",path="/items/{id}"} 7.02
# TYPE app_requests_processing_time_seconds histogram
app_requests_processing_time_seconds_bucket{le="0.005",method="GET",path="/items/{id}"} 0.0
app_requests_processing_time_seconds_bucket{le="0.01",method="GET",path="/items/{id}"} 0.0
app_requests_processing_time_seconds_bucket{le="0.025",method="GET",path="/items/{id}"} 0.0
app_requests_processing_time_seconds_bucket{le="0.05",method="GET",path="/items/{id}"} 1.0
app_requests_processing_time_seconds_bucket{le="0.075",method="GET",path="/items/{id}"} 1.0
app_requests_processing_time_seconds_bucket{le="0.1",method="GET",path="/items/{id}"} 1.0
app_requests_processing_time_seconds_bucket{le="0.25",method="GET",path="/items/{id}"} 1.0
app_requests_processing_time_seconds_bucket{le="0.5",method="GET",path="/items/{id}"} 1.0
app_requests_processing_time_seconds_bucket{le="0.75",method="GET",path="/items/{id}"} 1.0
app_requests_processing_time_seconds_bucket{le="1.0",method="GET",path="/items/{id}"} 1.0
app_requests_processing_time_seconds_bucket{le="2.5",method="GET",path="/items/{id}"} 1.0
app_requests_processing_time_seconds_bucket{le="5.0",method="GET",path="/items/{id}"} 1.0
app_requests_processing_time_seconds_bucket{le="7.5",method="GET",path="/items/{id}"} 1.0
app_requests_processing_time_seconds_bucket{le="10.0",method="GET",path="/items/{id}"} 1.0
app_requests_processing_time_seconds_bucket{le="+Inf",method="GET",path="/items/{id}"} 2.0
app_requests_processing_time_seconds_count{method="GET",path="/items/{id}"} 2.0
app_requests_processing_time_seconds_sum{method="GET",path="/items/{id}"} 20.03
# TYPE app_requests_total counter
app_requests_total{method="GET",path="/items/{id}"} 2.0
# TYPE app_responses_total counter
app_responses_total{method="GET",path="/items/{id}",status_code="200"} 1.0
# TYPE app_requests_in_progress gauge
app_requests_in_progress 0.0
# TYPE app_memory_usage_bytes gauge
# TYPE app_file_descriptor_limit gauge
# TYPE app_thread_pool_in_use gauge
# TYPE app_thread_pool_size gauge
# TYPE app_thread_pool_waiting gauge
# TYPE app_worker_starts_total counter
"""
    # The descriptions are free to change, the memory is what it is.
    shown = [
        line
        for line in text.splitlines()
        if line.startswith(("app_re", "# TYPE app_")) and "app_gc_pause" not in line
    ]
    assert "\n".join(shown) + "\n" == wanted


def test_no_series_has_further_labels() -> None:
    measured = Measured()
    measured.client.get("/nope")
    series = measured.series()
    assert label_names(series, "app_requests_total") == {("method", "path")}
    assert label_names(series, "app_responses_total") == {("method", "path", "status_code")}
    assert not any(label.startswith("otel_scope") for _, labels in series for label, _ in labels)


def test_a_span_is_an_example_of_its_own_request_only() -> None:
    reader = InMemoryMetricReader()
    recorder = recorder_of(MeterProvider([reader], shutdown_on_exit=False))
    recorder.series("GET", "/", 200).record(0.3, 0.3)
    with TracerProvider(shutdown_on_exit=False).get_tracer("x").start_as_current_span("one"):
        recorder.series("GET", "/", 200).record(0.03, 0.03)
    recorder.series("GET", "/", 200).record(0.4, 0.4)
    with TracerProvider(shutdown_on_exit=False).get_tracer("x").start_as_current_span("scrape"):
        data = reader.get_metrics_data()
    assert data is not None
    metrics = data.resource_metrics[0].scope_metrics[0].metrics
    (point,) = next(each for each in metrics if each.unit == "s").data.data_points
    assert isinstance(point, HistogramDataPoint)
    assert point.count == 3
    assert [each.value for each in point.exemplars] == [0.03]


def test_a_provider_has_one_recorder_and_providers_share_none() -> None:
    one, other = MeterProvider(), MeterProvider()
    assert recorder_of(one) is recorder_of(one)
    assert recorder_of(one) is not recorder_of(other)


def test_applications_of_one_provider_add_up() -> None:
    one, other = Measured(), Measured(instrument=False)
    other.provider = one.provider
    other.instrument()
    one.client.get("/nope")
    other.client.get("/nope")
    assert one.requests() == other.requests() == {("GET", "unmatched"): 2}


def test_applications_of_different_providers_do_not() -> None:
    one, other = Measured(), Measured()
    one.client.get("/nope")
    assert values(one.series(), "app_requests_total")
    assert not values(other.series(), "app_requests_total")
