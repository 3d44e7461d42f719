"""Beside Logfire, contrib's metrics of the system, and OpenTelemetry's own distro."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.foreign.environment import environment
from tests.support.processes import Service, service, wait_for
from tests.support.series import Series, total

LOGFIRE = """
import logfire
from fastapi import FastAPI
import telemetry

logfire.configure(send_to_logfire=False, console=False)
app = FastAPI()
logfire.instrument_fastapi(app)
telemetry.instrument(app)

@app.get("/items/{i}")
def item(i: int) -> int:
    return i
"""
SYSTEM_METRICS = """
from fastapi import FastAPI
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
import telemetry

app = FastAPI()
telemetry.instrument(app)
SystemMetricsInstrumentor().instrument()
"""
PLAIN = """
from fastapi import FastAPI
import telemetry

app = FastAPI()
telemetry.instrument(app)

@app.get("/items/{i}")
def item(i: int) -> int:
    return i
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    packages = (
        "logfire[fastapi]",
        "opentelemetry-distro",
        "opentelemetry-instrumentation-system-metrics",
    )
    return environment(tmp_path_factory.mktemp("neighbours") / "venv", *packages)


def run(
    folder: Path, code: str, program: Iterable[str], **variables: str
) -> AbstractContextManager[Service]:
    (folder / "shop.py").write_text(code)
    command = (*program, "--host", "127.0.0.1", "--log-level", "warning", "shop:app")
    variables |= {"PYTHONPATH": str(folder)}
    return service(folder, command=command, environment=variables, cwd=folder)


def after_requests(shop: Service, count: int) -> Series:
    for _ in range(count):
        shop.get("/items/1")

    def all_shown() -> Series | None:
        series = shop.series()
        return series if total(series, "app_requests_total", path="/items/{i}") == count else None

    series: Series = wait_for(all_shown, "all requests are shown")
    return series


@pytest.mark.parametrize("workers", [1, 2])
def test_beside_logfire(tmp_path: Path, python: Path, workers: int) -> None:
    uvicorn = (str(python.with_name("uvicorn")), "--workers", str(workers))
    with run(tmp_path, LOGFIRE, uvicorn) as shop:
        series = after_requests(shop, 30)
        assert "Traceback" not in shop.process.log
    # Though Logfire's views make every histogram exponential, which a page of text cannot have.
    duration = "app_requests_processing_time_seconds"
    assert total(series, f"{duration}_bucket", path="/items/{i}", le="10.0") == 30
    assert total(series, f"{duration}_count", path="/items/{i}") == 30


def test_beside_opentelemetrys_own_distro(tmp_path: Path, python: Path) -> None:
    """Its reader has registered our metrics in prometheus_client's registry as well."""
    instrument = (str(python.with_name("opentelemetry-instrument")), "uvicorn")
    variables = {
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "OTEL_PYTHON_CONFIGURATOR": "configurator",
        "OTEL_PYTHON_DISTRO": "distro",
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
    }
    with run(tmp_path, PLAIN, instrument, **variables) as shop:
        after_requests(shop, 30)
        shop.get("/metrics")
        assert "not shown" not in shop.process.log.lower()


@pytest.mark.parametrize("workers", [1, 2])
def test_facts_about_the_process_stand_under_one_name(
    tmp_path: Path, python: Path, workers: int
) -> None:
    """Also beside contrib's metrics of the system, which has some of the same names."""
    uvicorn = (str(python.with_name("uvicorn")), "--workers", str(workers))
    names: list[set[str]] = []
    for code in (PLAIN, SYSTEM_METRICS):
        with run(tmp_path, code, uvicorn) as shop:
            wait_for(
                lambda: total(shop.series(), "app_worker_starts_total") == workers,
                "all workers are there",
            )
            series = shop.series()
        ours = {
            (name, labels)
            for name, labels in series
            if name in ("process_cpu_time_seconds_total", "cpython_gc_collections_total")
            and not any(label == "otel_scope_name" for label, _ in labels)
        }
        names.append({name for name, _ in ours})
        assert len(ours) == 5
        assert not {name for name, _ in series if name.startswith(("process_resident", "python_"))}
    assert names[0] == names[1]
