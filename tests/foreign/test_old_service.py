"""A service as it was written two years ago, before, during and after it is migrated."""

from pathlib import Path

import pytest

from tests.foreign.environment import environment
from tests.support.processes import service, wait_for
from tests.support.series import Series, total

PACKAGES = (
    "fastapi==0.115.14",
    "uvicorn[standard]==0.34.0",
    "gunicorn==23.0.0",
    "opentelemetry-sdk==1.36.0",
    "prometheus-client==0.22.0",
    "prometheus-fastapi-instrumentator==7.0.2",
)
# Forty metrics of prometheus_client and the instrumentator; then telemetry beside it, then alone.
APP = """
import os
from fastapi import FastAPI
from prometheus_client import Counter, Gauge, Histogram
from prometheus_fastapi_instrumentator import Instrumentator

app = FastAPI()
counters = [Counter(f"shop_events_{n}", "events", ["kind"]) for n in range(30)]
gauges = [Gauge(f"shop_level_{n}", "level", multiprocess_mode="livesum") for n in range(5)]
histograms = [Histogram(f"shop_delay_{n}_seconds", "delay", buckets=[0.1, 1.0]) for n in range(5)]

@app.get("/items/{number}")
def item(number: int) -> int:
    for counter in counters:
        counter.labels("odd" if number % 2 else "even").inc()
    for histogram in histograms:
        histogram.observe(0.5)
    for gauge in gauges:
        gauge.set(number)
    return number

step = os.environ["STEP"]
if step != "after":
    path = "/metrics" if step == "before" else "/old-metrics"
    Instrumentator().instrument(app).expose(app, endpoint=path)
if step != "before":
    import telemetry
    telemetry.instrument(app)
"""
REQUESTS = 60


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("old") / "venv", *PACKAGES)


def after_requests(folder: Path, python: Path, step: str, workers: int) -> Series:
    (folder / "old.py").write_text(APP)
    environment = {"STEP": step}
    if workers > 1:
        (folder / "multiprocess").mkdir()
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(folder / "multiprocess")
    command = (str(python.with_name("gunicorn")), "-k", "uvicorn.workers.UvicornWorker")
    options = ("-w", str(workers), "-b", "127.0.0.1:{port}", "old:app")
    with service(folder, command=(*command, *options), environment=environment, cwd=folder) as app:
        for number in range(REQUESTS):
            app.get(f"/items/{number}")

        def all_shown() -> Series | None:
            series = app.series()
            ours = total(series, "app_requests_total", path="/items/{number}")
            return series if ours == REQUESTS or step == "before" else None

        series: Series = wait_for(all_shown, "all requests are shown")
        if step == "both":
            # On the page of the instrumentator, which goes on as it was.
            assert (
                f'handler="/items/{{number}}",method="GET",status="2xx"}} {REQUESTS}.0'
                in app.get("/old-metrics")
            )
        assert "Traceback" not in app.process.log
        return series


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("step", ["before", "both", "after"])
def test_what_was_measured_stays(tmp_path: Path, python: Path, step: str, workers: int) -> None:
    series = after_requests(tmp_path, python, step, workers)
    for number in range(30):
        assert total(series, f"shop_events_{number}_total") == REQUESTS
    for number in range(5):
        assert total(series, f"shop_delay_{number}_seconds_count") == REQUESTS
        assert any(name == f"shop_level_{number}" for name, _ in series)
    if step != "before":
        assert total(series, "app_responses_total", status_code="200") >= REQUESTS
    if step != "after":
        instrumentator = total(series, "http_requests_total", handler="/items/{number}")
        assert instrumentator == REQUESTS
