"""Which meter provider is used; each case in an interpreter of its own, as it is global."""

import subprocess
import sys

import pytest

from tests.support.versions import needs

SHOW = """
from fastapi import FastAPI
from fastapi.testclient import TestClient
import telemetry
app = FastAPI()
telemetry.instrument(app)
client = TestClient(app)
client.get("/nope")
print(client.get("/metrics").text)
"""

# Older versions of Starlette use what Python 3.14 has deprecated.
WARNINGS = ["-W", "error", "-W", "ignore:'asyncio.iscoroutinefunction':DeprecationWarning"]


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *WARNINGS, "-c", code], capture_output=True, text=True, timeout=60
    )


def test_the_sdks_is_set_where_there_is_none() -> None:
    result = run(
        SHOW
        + "from opentelemetry import metrics; from opentelemetry.sdk.metrics import MeterProvider\n"
        + "assert isinstance(metrics.get_meter_provider(), MeterProvider)\n"
    )
    assert result.stderr == ""
    assert result.returncode == 0
    assert 'app_requests_total{method="GET",path="unmatched"} 1.0' in result.stdout


def test_the_one_that_is_set_is_used() -> None:
    result = run(
        "from opentelemetry import metrics\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "provider = MeterProvider()\n"
        "metrics.set_meter_provider(provider)\n"
        "metrics.get_meter('mine').create_counter('mine').add(7)\n"
        + SHOW
        + "assert metrics.get_meter_provider() is provider\n"
        "metrics.get_meter('mine').create_counter('mine').add(3)\n"
        "print(client.get('/metrics').text)\n"
    )
    assert result.stderr == ""
    assert result.returncode == 0
    assert 'app_requests_total{method="GET",path="unmatched"} 1.0' in result.stdout
    assert "\nmine_total 3.0" in result.stdout


def test_one_that_takes_no_reader_is_named_and_the_application_works() -> None:
    result = run(
        "from opentelemetry import metrics\n"
        "metrics.set_meter_provider(metrics.NoOpMeterProvider())\n" + SHOW
    )
    assert "opentelemetry.metrics.NoOpMeterProvider" in result.stderr
    assert "Set an opentelemetry.sdk.metrics.MeterProvider" in result.stderr
    assert result.returncode == 0
    assert "Not Found" in result.stdout


def test_the_apis_stand_in_is_where_we_look_for_it() -> None:
    """`telemetry.sdk.provider` needs this private name; no public one tells the same."""
    from opentelemetry.metrics._internal import _ProxyMeterProvider

    result = run(
        "from opentelemetry import metrics; print(type(metrics.get_meter_provider()).__qualname__)"
    )
    assert result.stdout.strip() == _ProxyMeterProvider.__qualname__


@pytest.mark.parametrize("module", ["grpc", "google.protobuf", "opentelemetry.exporter.otlp"])
def test_nothing_is_imported_that_serving_metrics_does_not_need(module: str) -> None:
    result = run(f"import sys, app.main; assert {module!r} not in sys.modules, sys.modules")
    assert result.returncode == 0, result.stderr[-500:]


MANY_SERIES = """
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry import metrics
import telemetry
from telemetry.instrumentation.recorder import recorder_of
app = FastAPI()
telemetry.instrument(app)
recorder = recorder_of(metrics.get_meter_provider())
for number in range(2_001):
    recorder.series("GET", f"/{number}", 200).record(0.01, 0.01)
page = TestClient(app).get("/metrics").text
for name in ("app_requests_total{", "app_requests_processing_time_seconds_count{"):
    print(page.count(name), page.count(name + 'otel_metric_overflow'))
"""


@needs("opentelemetry-sdk", "1.45.2")
def test_the_labels_of_routes_have_no_limit_of_2000_series() -> None:
    result = run(MANY_SERIES)
    assert result.stdout.split() == ["2001", "0"] * 2, result.stderr
