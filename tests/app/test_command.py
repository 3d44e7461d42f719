"""python -m app, as it is typed."""

import socket
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support.processes import free_port, get, run_module, service, wait_for
from tests.support.series import total, values

run = partial(run_module, "app")


def test_help_names_the_options() -> None:
    result = run("--help")
    assert result.returncode == 0
    for option in ("--host", "--port", "--workers", "--reload"):
        assert option in result.stdout


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("--host", "127.0.0.1", "--port", str(port))
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert f"port {port}" in line
    assert "--port" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "99999"),
        ("--port", "x"),
        ("--host", "nobody.invalid"),
        ("--port", "0", "--bogus"),
    ],
)
def test_what_cannot_be_is_said_without_a_traceback(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode != 0
    assert arguments[-1].lstrip("-") in result.stderr
    assert "Traceback" not in result.stderr


def test_what_it_does_not_know_goes_to_uvicorn(tmp_path: Path) -> None:
    with service(tmp_path, "--root-path", "/api", "--no-access-log") as app:
        assert app.status("/") == 200
        assert "GET / HTTP" not in app.process.log


def test_uvicorn_itself_works_as_well(tmp_path: Path) -> None:
    with service(tmp_path, command=(sys.executable, "-m", "uvicorn", "app.main:app")) as app:
        app.get("/")
        assert total(app.series(), "app_requests_total") >= 1


def test_reload(tmp_path: Path) -> None:
    with service(tmp_path, "--reload") as app:
        app.get("/")
        assert "reloader process" in app.process.log
        assert app.process.stop() in (0, -15)


def metrics_lines(log: str) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in log.splitlines() if line.startswith("Metrics ")]


SAID: dict[str, tuple[dict[str, str], list[str]]] = {
    "nothing set": ({}, ["{app}/metrics"]),
    "another address": ({"APP_URL": "http://localhost:8765"}, ["http://localhost:8765/metrics"]),
    "another path": ({"TELEMETRY_METRICS_PATH": "/internal"}, ["{app}/internal"]),
    "an own port": (
        {"OTEL_EXPORTER_PROMETHEUS_PORT": "{port}"},
        ["http://localhost:{port}/metrics"],
    ),
    "an own address": (
        {
            "OTEL_EXPORTER_PROMETHEUS_PORT": "{port}",
            "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
            "OTEL_METRICS_EXPORTER": "prometheus",
        },
        ["http://127.0.0.1:{port}/metrics"],
    ),
    "no port": (
        {"OTEL_EXPORTER_PROMETHEUS_PORT": "70000"},
        ["none (OTEL_EXPORTER_PROMETHEUS_PORT)"],
    ),
    "otlp": ({"OTEL_METRICS_EXPORTER": "otlp"}, ["pushed to http://localhost:4318/v1/metrics"]),
    "otlp elsewhere": (
        {
            "OTEL_METRICS_EXPORTER": " otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://name:password@127.0.0.1:9/",
        },
        ["pushed to http://127.0.0.1:9/v1/metrics"],
    ),
    "otlp for metrics elsewhere": (
        {
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9/api/v1/otlp/v1/metrics",
        },
        ["pushed to http://127.0.0.1:9/api/v1/otlp/v1/metrics"],
    ),
    "otlp by grpc": (
        {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        ["pushed to http://localhost:4317"],
    ),
    "both": (
        {"OTEL_METRICS_EXPORTER": "prometheus,console"},
        ["{app}/metrics", "printed here"],
    ),
    "none": ({"OTEL_METRICS_EXPORTER": "none"}, ["none (OTEL_METRICS_EXPORTER)"]),
    "disabled": ({"OTEL_SDK_DISABLED": "True"}, ["none (OTEL_SDK_DISABLED)"]),
    "a file": (
        {"OTEL_CONFIG_FILE": "config/otlp.yaml", "OTEL_METRICS_EXPORTER": "prometheus"},
        ["as config/otlp.yaml says"],
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_it_says_where_the_metrics_really_are(tmp_path: Path, case: str) -> None:
    variables, expected = SAID[case]
    port = str(free_port())
    environment = {name: value.replace("{port}", port) for name, value in variables.items()}
    with service(tmp_path, environment=environment) as app:
        lines = metrics_lines(app.process.log)
        assert lines == [
            each.replace("{port}", port).replace("{app}", app.url) for each in expected
        ]
        at_the_app = f"{app.url}/metrics" in lines or "APP_URL" in variables
        assert (app.status("/metrics") == 200) == at_the_app
        for line in lines:
            if line.startswith("http") and "APP_URL" not in variables:
                assert "app_requests_in_progress" in wait_for(partial(get, line), line)


def test_durations_have_the_buckets_that_the_tutorial_shows(tmp_path: Path) -> None:
    with service(tmp_path) as app:
        app.get("/health")
        bounds = values(app.series(), "app_requests_processing_time_seconds_bucket")
    assert {le for le, *_ in bounds} == {
        *("0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75"),
        *("1.0", "2.5", "5.0", "7.5", "10.0", "+Inf"),
    }
