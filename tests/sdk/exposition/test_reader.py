"""What a provider holds, in prometheus_client's words."""

import subprocess
import sys

from fastapi import FastAPI
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY

from telemetry.sdk.setup.readers import readers_of
from tests.support.applications import Measured
from tests.support.series import label_names, values
from tests.support.versions import needs


def test_a_provider_has_one_reader_and_prometheus_clients_registry_none() -> None:
    one, other = MeterProvider(), MeterProvider()
    assert readers_of(one).endpoint is readers_of(one).endpoint
    assert readers_of(one).endpoint is not readers_of(other).endpoint
    assert "target_info" not in {metric.name for metric in REGISTRY.collect()}


def test_every_instrument_of_the_provider_is_shown() -> None:
    measured = Measured()
    meter = measured.provider.get_meter("mine")
    meter.create_counter("orders", unit="{order}").add(2, {"kind": "big"})
    meter.create_up_down_counter("queue.length").add(3)
    meter.create_histogram("weight", unit="kg", explicit_bucket_boundaries_advisory=[1.0]).record(2)
    meter.create_gauge("temperature", unit="Cel").set(21.5)
    series = measured.series()
    assert values(series, "orders_total") == {("big",): 2}
    assert values(series, "queue_length") == {(): 3}
    assert values(series, "weight_kg_count") == {(): 1}
    assert values(series, "temperature_celsius") == {(): 21.5}


@needs("fastapi", "0.142.0")
def test_fastapis_own_metrics_work_beside_ours() -> None:
    provider = MeterProvider(shutdown_on_exit=False)
    measured = Measured(FastAPI(telemetry={"meter_provider": provider}), instrument=False)
    measured.provider = provider
    measured.instrument()
    measured.client.get("/nope")
    series = measured.series()
    own = label_names(series, "http_server_request_duration_seconds_count")
    assert all("http_request_method" in labels for labels in own)
    assert own
    assert values(series, "app_requests_total") == {("GET", "unmatched"): 1}


def test_what_writes_pages_is_loaded_where_they_are_served_and_before_the_first_request() -> None:
    code = (
        "import sys, telemetry\n"
        "from fastapi import FastAPI\n"
        "app = FastAPI()\n"
        "telemetry.instrument(app)\n"
        "before = 'prometheus_client' in sys.modules\n"
        "app.build_middleware_stack()\n"
        "print(before, 'prometheus_client' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout == "False True\n", run.stderr
