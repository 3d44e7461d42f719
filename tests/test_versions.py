"""What differs between versions: CI runs it with the lowest and with the newest ones."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
from fastapi import APIRouter, FastAPI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from packaging.requirements import Requirement
from packaging.version import Version

from telemetry import versions
from telemetry.compatibility.readers import add_metric_reader
from telemetry.instrumentor import FastAPIMetricsInstrumentor
from tests.support.processes import ROOT


def project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def test_the_lowest_bounds_are_what_the_tests_ran_with() -> None:
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    lowest = dict(line.split("==") for line in lines if not line.startswith("#"))
    dependencies = [Requirement(str(each)) for each in project()["dependencies"]]  # type: ignore[attr-defined]
    for each in dependencies:
        (bound,) = (one.version for one in each.specifier if one.operator == ">=")
        assert Version(lowest[each.name]).release[: len(Version(bound).release)] == tuple(
            Version(bound).release
        ), each


def test_the_instrumentor_asks_for_the_fastapi_that_the_package_asks_for() -> None:
    (asked,) = FastAPIMetricsInstrumentor().instrumentation_dependencies()
    (bound,) = (each for each in project()["dependencies"] if each.startswith("fastapi>"))  # type: ignore[attr-defined]
    assert Requirement(asked) == Requirement(bound)


def test_routes_of_included_routers_have_their_full_path() -> None:
    async def answer() -> str:
        return "ok"

    app, router, inner = FastAPI(), APIRouter(), APIRouter()
    inner.get("/items/{i}")(answer)
    router.include_router(inner, prefix="/inner")
    app.include_router(router, prefix="/outer")
    found = {full.path: route for route, full in versions.routes_in_full(app.routes)}
    assert found["/outer/inner/items/{i}"].endpoint is answer  # type: ignore[attr-defined]


def test_a_reader_is_added_to_a_provider_that_has_instruments_already() -> None:
    provider = MeterProvider(shutdown_on_exit=False)
    counter = provider.get_meter("x").create_counter("c")
    reader = InMemoryMetricReader()
    assert add_metric_reader(provider, reader)
    counter.add(7)
    data = reader.get_metrics_data()
    assert data is not None
    (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
    assert [point.value for point in metric.data.data_points] == [7]  # type: ignore[union-attr]
    assert not add_metric_reader(object(), InMemoryMetricReader())


def test_a_view_takes_the_limit_of_series() -> None:
    assert View(instrument_name="x", **versions.limit_of_series(7))


PUSHED = """
from opentelemetry import metrics
from telemetry.compatibility.readers import resource_of
from telemetry.sdk.setup.environment import configure
configure()
print(resource_of(metrics.get_meter_provider()).attributes["service.instance.id"])
"""


@pytest.mark.parametrize("own", ["", "service.instance.id=mine"])
def test_there_is_an_instance_id_and_ones_own_stays(own: str) -> None:
    environment = {**os.environ, "OTEL_RESOURCE_ATTRIBUTES": own}
    result = subprocess.run(
        [sys.executable, "-c", PUSHED], capture_output=True, text=True, env=environment
    )
    found = result.stdout.strip()
    assert found == "mine" if own else re.fullmatch(r"[-0-9a-f]{36}", found), result.stderr


MISSING = """
import sys
sys.modules["opentelemetry.configuration"] = None
from fastapi import FastAPI
from fastapi.testclient import TestClient
import telemetry
app = FastAPI()
telemetry.instrument(app)
print(TestClient(app).get("/openapi.json").status_code, TestClient(app).get("/metrics").status_code)
"""


def test_a_configuration_file_without_the_extra_is_one_line_that_names_it() -> None:
    environment = {**os.environ, "OTEL_CONFIG_FILE": "config/prometheus.yaml"}
    result = subprocess.run(
        [sys.executable, "-c", MISSING], capture_output=True, text=True, env=environment
    )
    assert result.stdout.split() == ["200", "404"], result.stderr
    (line,) = result.stderr.splitlines()
    assert "OTEL_CONFIG_FILE=config/prometheus.yaml" in line
    assert "pip install 'fastapi-otel-metrics[config]'" in line
