"""Where the metrics go, as the environment and configuration files say, in a real process."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from tests.support.processes import (
    ROOT,
    Service,
    answers,
    free_port,
    get,
    running,
    service,
    wait_for,
)
from tests.support.receivers import grpc_receiver, silent_receiver, victoria_metrics
from tests.support.series import total, values


@contextmanager
def configured(folder: Path, **environment: str) -> Iterator[Service]:
    with service(folder, environment={"OTEL_SERVICE_NAME": "shop", **environment}) as app:
        yield app


def logged(app: Service) -> list[str]:
    """What was printed beside uvicorn's own lines and the two addresses."""
    own = ("INFO:", "Docs ", "Metrics ")
    return [line for line in app.process.log.splitlines() if not line.startswith(own)]


@pytest.mark.parametrize(
    ("environment", "metrics"),
    [
        ({}, 200),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, 200),
        ({"OTEL_METRICS_EXPORTER": " prometheus , none "}, 200),
        ({"OTEL_METRICS_EXPORTER": ""}, 200),
        ({"OTEL_METRICS_EXPORTER": "none"}, 404),
        ({"OTEL_METRICS_EXPORTER": "console"}, 404),
        ({"OTEL_METRICS_EXPORTER": "console,prometheus"}, 200),
        ({"OTEL_SDK_DISABLED": "true"}, 404),
        ({"OTEL_CONFIG_FILE": "config/prometheus.yaml"}, 200),
    ],
)
def test_whether_metrics_are_served(
    tmp_path: Path, environment: dict[str, str], metrics: int
) -> None:
    with configured(tmp_path, **environment) as app:
        assert app.get("/") == '{"message":"Hello World"}'
        assert app.status("/metrics") == metrics
        assert app.get("/increase_count") == '{"count":1}'
        assert logged(app) == []


@pytest.mark.parametrize(
    ("environment", "metrics", "named"),
    [
        (
            {"OTEL_METRICS_EXPORTER": "carbon,prometheus"},
            200,
            ["OTEL_METRICS_EXPORTER=carbon", "console", "otlp", "prometheus", "none"],
        ),
        (
            {"OTEL_TRACES_EXPORTER": "jaeger"},
            200,
            ["OTEL_TRACES_EXPORTER=jaeger", "console", "otlp"],
        ),
        (
            {"OTEL_METRICS_EXPORTER": "otlp,prometheus", "OTEL_EXPORTER_OTLP_PROTOCOL": "pigeon"},
            200,
            ["OTEL_EXPORTER_OTLP_PROTOCOL=pigeon", "http/protobuf", "grpc"],
        ),
        (
            {"OTEL_METRICS_EXPORTER": "otlp,prometheus", "OTEL_METRIC_EXPORT_INTERVAL": "-1"},
            200,
            ["OTEL_METRICS_EXPORTER=otlp", "interval", "-1"],
        ),
        (
            {
                "OTEL_METRICS_EXPORTER": "console,prometheus",
                "OTEL_METRICS_EXEMPLAR_FILTER": "some",
            },
            200,
            ["OTEL_METRICS_EXEMPLAR_FILTER=some", "always_on", "trace_based"],
        ),
        ({"OTEL_EXPORTER_PROMETHEUS_PORT": "http"}, 404, ["OTEL_EXPORTER_PROMETHEUS_PORT=http"]),
        (
            {"OTEL_CONFIG_FILE": "nowhere.yaml"},
            404,
            ["OTEL_CONFIG_FILE=nowhere.yaml", "not found", "config/"],
        ),
        (
            {"OTEL_CONFIG_FILE": "docker-compose.yaml"},
            404,
            ["OTEL_CONFIG_FILE=docker-compose.yaml", "file_format"],
        ),
        (
            {"OTEL_PYTHON_EXCLUDED_URLS": "health,("},
            200,
            ["OTEL_PYTHON_EXCLUDED_URLS=health,(", "regular expression"],
        ),
    ],
)
def test_wrong_configuration_is_one_line_and_the_app_runs(
    tmp_path: Path, environment: dict[str, str], metrics: int, named: list[str]
) -> None:
    with configured(tmp_path, **environment) as app:
        assert app.get("/") == '{"message":"Hello World"}'
        assert app.status("/metrics") == metrics
        (line,) = logged(app)
        for word in named:
            assert word in line


def test_a_metrics_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with configured(
            tmp_path, OTEL_EXPORTER_PROMETHEUS_PORT=port, OTEL_EXPORTER_PROMETHEUS_HOST="127.0.0.1"
        ) as app:
            assert app.status("/metrics") == 404
            (line,) = wait_for(lambda: logged(app), "the line is there")
            assert port in line
            assert "OTEL_EXPORTER_PROMETHEUS_PORT" in line


def test_a_metrics_port_that_is_the_apps_own_is_one_line(tmp_path: Path) -> None:
    port = str(free_port())
    command = (sys.executable, "-m", "app", "--host", "127.0.0.1", "--port", port, "--root-path=")
    environment = {
        "OTEL_EXPORTER_PROMETHEUS_PORT": port,
        "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
    }
    url = f"http://127.0.0.1:{port}"
    log = tmp_path / "log"
    with running(command, log, f"{url}/health", environment=environment) as process:
        wait_for(lambda: "OTEL_EXPORTER_PROMETHEUS_PORT" in process.log, "the line is there")
        assert get(f"{url}/health") == '{"status":"ok"}'


def test_a_metrics_port_serves_only_the_metrics_and_only_there(tmp_path: Path) -> None:
    port = free_port()
    with configured(tmp_path, OTEL_EXPORTER_PROMETHEUS_PORT=str(port)) as app:
        app.get("/health")
        assert app.status("/metrics") == 404
        private = f"http://localhost:{port}/metrics"
        wait_for(lambda: answers(private), "the port is served")
        text = get(private, {"Accept": "application/openmetrics-text"})
        assert text.endswith("# EOF\n")
        assert 'app_requests_total{method="GET",path="/health"} 1.0' in text
        with pytest.raises(OSError, match="404"):
            get(f"http://localhost:{port}/health")


def test_excluded_urls_are_not_counted(tmp_path: Path) -> None:
    with configured(tmp_path, OTEL_PYTHON_FASTAPI_EXCLUDED_URLS="health,nope$") as app:
        for path in ("/health", "/nope", "/nope?query", "/"):
            app.status(path)
        assert values(app.series(), "app_requests_total") == {("GET", "/"): 1}


def test_the_resource_is_what_the_environment_says(tmp_path: Path) -> None:
    with configured(
        tmp_path, OTEL_SERVICE_NAME="shop", OTEL_RESOURCE_ATTRIBUTES="deployment.zone=eu"
    ) as app:
        assert total(app.series(), "target_info", service_name="shop", deployment_zone="eu") == 1


@pytest.mark.parametrize("kind", ["variables", "config/otlp.yaml", "config/both.yaml"])
def test_otlp_over_http_reaches_a_store(tmp_path: Path, kind: str) -> None:
    with victoria_metrics(tmp_path) as store:
        endpoint = f"{store}/opentelemetry/v1/metrics"
        environment = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint}
        if kind == "variables":
            environment |= {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "500"}
        else:
            file = tmp_path / "otel.yaml"
            shutil.copy(ROOT / kind, file)
            file.write_text(file.read_text().replace("interval: 15000", "interval: 500"))
            environment |= {"OTEL_CONFIG_FILE": str(file)}
        with configured(tmp_path, **environment) as app:
            app.get("/health")
            assert app.status("/metrics") == (200 if "both" in kind else 404)
            query = f"{store}/api/v1/query?query=app_requests_total"
            wait_for(lambda: '"path":"/health"' in get(query), "the push arrives")
            assert logged(app) == []


def test_otlp_over_grpc_reaches_a_receiver_with_its_headers(tmp_path: Path) -> None:
    with (
        grpc_receiver() as (endpoint, receiver),
        configured(
            tmp_path,
            OTEL_METRICS_EXPORTER="otlp,prometheus",
            OTEL_EXPORTER_OTLP_METRICS_PROTOCOL="grpc",
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_EXPORTER_OTLP_HEADERS="x-tenant=books",
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
            OTEL_METRIC_EXPORT_INTERVAL="300",
            OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta",
        ) as app,
    ):
        app.get("/health")
        wait_for(lambda: "app_requests" in receiver.metrics(), "the push arrives")
        metric = receiver.metrics()["app_requests_processing_time"]
        assert receiver.headers[0]["x-tenant"] == "books"
        assert metric.unit == "s"
        assert metric.histogram.aggregation_temporality == 1
        assert app.status("/metrics") == 200


def test_the_last_numbers_are_pushed_when_the_app_stops(tmp_path: Path) -> None:
    with (
        grpc_receiver() as (endpoint, receiver),
        configured(
            tmp_path,
            OTEL_METRICS_EXPORTER="otlp",
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        ) as app,
    ):
        for _ in range(7):
            app.get("/health")
        assert receiver.requests == []
        app.process.stop()
        # Once when the lifespan has ended, and once more at the exit, for what came after it.
        # Each time all series are ended after that.
        sent = [points(request) for request in receiver.requests]
        assert [flags for flags, _ in sent] == [0, 1] * 2
        assert [count for flags, count in sent if not flags] == [7] * 2


def points(request: ExportMetricsServiceRequest) -> tuple[int, int]:
    """The flags and the sum of app_requests."""
    found = [
        point
        for scope in request.resource_metrics[0].scope_metrics
        for metric in scope.metrics
        if metric.name == "app_requests"
        for point in metric.sum.data_points
    ]
    (flags,) = {point.flags for point in found}
    return flags, sum(point.as_int for point in found)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_collector_that_hangs_costs_no_request_time_and_the_stop_five_seconds(
    tmp_path: Path, protocol: str
) -> None:
    with (
        silent_receiver() as endpoint,
        configured(
            tmp_path,
            OTEL_METRICS_EXPORTER="otlp",
            OTEL_TRACES_EXPORTER="otlp",
            OTEL_LOGS_EXPORTER="otlp",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_METRIC_EXPORT_INTERVAL="200",
        ) as app,
    ):
        slowest = 0.0
        for _ in range(50):
            began = time.monotonic()
            app.get("/health")
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1
        began = time.monotonic()
        app.process.stop()
        assert time.monotonic() - began < 7
        assert "did not take the last" in app.process.log


def test_a_collector_that_is_down_does_not_flood_the_log(tmp_path: Path) -> None:
    with configured(
        tmp_path,
        OTEL_METRICS_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}",
        OTEL_METRIC_EXPORT_INTERVAL="100",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    ) as app:
        app.get("/health")
        time.sleep(5)
        lines = logged(app)
    assert 1 <= len(lines) <= 4, lines


INSTANCE = """
import telemetry
from fastapi import FastAPI
from opentelemetry import metrics
from telemetry.compatibility.readers import resource_of
telemetry.instrument(FastAPI())
print(resource_of(metrics.get_meter_provider()).attributes["service.instance.id"])
"""


@pytest.mark.parametrize("name", ["otlp", "both"])
def test_each_replica_that_pushes_by_a_file_has_an_id_of_its_own(name: str) -> None:
    variables = {**os.environ, "OTEL_CONFIG_FILE": str(ROOT / f"config/{name}.yaml")}
    command = [sys.executable, "-c", INSTANCE]
    ids = {
        subprocess.run(
            command, capture_output=True, text=True, check=True, env=variables, cwd=ROOT
        ).stdout
        for _ in range(2)
    }
    assert len(ids) == 2
