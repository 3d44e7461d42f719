"""SIGTERM, under load and with exporters that hang."""

import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.processes import ROOT, script, service
from tests.support.receivers import GrpcReceiver, grpc_receiver, silent_receiver


def test_sigterm_under_load_answers_what_was_accepted_and_exits_0(tmp_path: Path) -> None:
    with service(tmp_path) as app:
        answers: list[bytes] = []

        def ask() -> None:
            with socket.create_connection(("127.0.0.1", app.port)) as connection:
                connection.sendall(b"GET /random_sleep HTTP/1.1\r\nHost: x\r\n\r\n")
                answers.append(connection.recv(1000))

        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        time.sleep(0.09)
        assert app.process.stop() == 0
        for thread in threads:
            thread.join()
        assert [answer[:15] for answer in answers] == [b"HTTP/1.1 200 OK"] * 20
        assert "Traceback" not in app.process.log


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once_though_every_exporter_hangs(
    tmp_path: Path, second: signal.Signals
) -> None:
    with silent_receiver() as endpoint:
        environment = {
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        }
        with service(tmp_path, environment=environment) as app:
            app.get("/health")
            app.process.popen.send_signal(signal.SIGTERM)
            time.sleep(1)
            assert app.process.popen.poll() is None
            began = time.monotonic()
            app.process.popen.send_signal(second)
            app.process.popen.wait(10)
            assert time.monotonic() - began < 2


def test_with_every_exporter_hanging_it_exits_0_within_the_bound(tmp_path: Path) -> None:
    with silent_receiver() as endpoint:
        environment = {
            "OTEL_METRICS_EXPORTER": "otlp,prometheus",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        }
        with service(tmp_path, environment=environment) as app:
            app.get("/health")
            began = time.monotonic()
            assert app.process.stop() == 0
            assert time.monotonic() - began < 7


IN_LIFESPAN = """
from contextlib import asynccontextmanager
from fastapi import FastAPI
from opentelemetry import metrics
import telemetry

@asynccontextmanager
async def lifespan(app):
    telemetry.instrument(app)
    last = metrics.get_meter("x").create_counter("last")
    yield
    last.add(1, {"at": "lifespan"})

app = FastAPI(lifespan=lifespan)

@app.get("/health")
async def health() -> None:
    pass
"""
AFTER_RUN = """
import signal, sys
import uvicorn
from fastapi import FastAPI
from opentelemetry import metrics
import telemetry

app = FastAPI()
telemetry.instrument(app)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: None)
    uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=int(sys.argv[1]))).run()
    metrics.get_meter("x").create_counter("last").add(1, {"at": "the end"})
"""


def pushed(receiver: GrpcReceiver, name: str) -> int:
    """The latest value of a counter, its series added up."""
    counts = [
        sum(point.as_int for point in metric.sum.data_points)
        for request in receiver.requests
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name and not metric.sum.data_points[0].flags
    ]
    return counts[-1] if counts else 0


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_counted_after_the_lifespans_yield_arrives(tmp_path: Path, workers: int) -> None:
    (tmp_path / "served.py").write_text(IN_LIFESPAN)
    with grpc_receiver() as (endpoint, receiver):
        environment = {
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "PYTHONPATH": f"{ROOT}:{tmp_path}",
            "TMPDIR": str(tmp_path),
        }
        command = (script("uvicorn"), "--workers", str(workers), "served:app")
        with service(tmp_path, command=command, environment=environment, cwd=tmp_path) as app:
            # An application that is instrumented in its lifespan has its requests counted from
            # then on.
            for _ in range(20):
                app.status("/health")
            app.process.stop()
        assert pushed(receiver, "last") == workers
        assert pushed(receiver, "app_requests") == 20


def test_what_is_counted_after_the_server_has_returned_arrives(tmp_path: Path) -> None:
    path = tmp_path / "served.py"
    path.write_text(AFTER_RUN)
    with grpc_receiver() as (endpoint, receiver):
        environment = {
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "PYTHONPATH": str(ROOT),
        }
        command = (sys.executable, str(path), "{port}")
        with service(tmp_path, command=command, environment=environment) as app:
            assert app.process.stop() == 0
        assert pushed(receiver, "last") == 1
