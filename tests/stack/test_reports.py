"""What users of other packages have reported of real servers, and does not happen here."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Service, script, service, wait_for
from tests.support.receivers import http_receiver
from tests.support.series import total, values

FOREIGN = """
import os
from fastapi import FastAPI

app = FastAPI()

@app.get("/pid")
async def pid() -> int:
    return os.getpid()
"""
APP = """
import asyncio, os, sys
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
import telemetry

app = FastAPI()
telemetry.instrument(app)
left = 0

@app.get("/stream")
async def stream() -> StreamingResponse:
    async def parts():
        for number in range(10):
            yield f"{number}"
            await asyncio.sleep(0.05)
    return StreamingResponse(parts())

@app.get("/generate")
async def generate(request: Request) -> None:
    global left
    for _ in range(500):
        if await request.is_disconnected():
            left += 1
            return
        await asyncio.sleep(0.01)

@app.get("/left")
async def how_many_left() -> int:
    return left

@app.get("/pid")
async def pid() -> int:
    return os.getpid()

if __name__ == "__main__":
    if child := os.fork():
        os.waitpid(child, 0)
        sys.exit()
    # As daemons do.
    os.closerange(3, 2048)
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""
ERRORS = ("Traceback", "ERROR", "exception", "Bad file descriptor", "did not take")


def environment(folder: Path) -> dict[str, str]:
    (folder / "served.py").write_text(APP)
    (folder / "foreign.py").write_text(FOREIGN)
    (folder / "tmp").mkdir(exist_ok=True)
    return {"PYTHONPATH": f"{ROOT}:{folder}", "TMPDIR": str(folder / "tmp")}


def leave(app: Service, path: str) -> None:
    """A client that goes away within its response, or before it."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", app.port), timeout=10) as connection:
        connection.sendall(request)
        time.sleep(0.15)


def streamed(app: Service) -> float:
    return total(app.series(), "app_responses_total", path="/stream", status_code="200")


def no_errors(log: str) -> None:
    assert not [line for line in log.splitlines() if any(each in line for each in ERRORS)]


def test_a_reloading_server_is_measured_unasked(tmp_path: Path) -> None:
    """opentelemetry-python-contrib #385, opentelemetry-python #3482: nothing is recorded."""
    variables = environment(tmp_path)
    reloading = (script("uvicorn"), "--reload", "--reload-dir", str(tmp_path), "foreign:app")
    command = (script("opentelemetry-instrument"), *reloading)
    with service(tmp_path, command=command, environment=variables, cwd=tmp_path) as app:
        before = app.get("/pid")
        assert values(app.series(), "app_requests_total")["GET", "/pid"] == 1
        time.sleep(0.6)
        (tmp_path / "foreign.py").write_text(FOREIGN + "\n# changed\n")
        wait_for(lambda: app.get("/pid") != before, "a new process answers")
        series = app.series()
        assert total(series, "app_requests_total", path="/pid") >= 2
        standard = "http_server_request_duration_seconds_count"
        assert total(series, standard, http_route="/pid") >= 2


@pytest.mark.parametrize("server", ["granian", "hypercorn", "uvicorn"])
def test_streams_end_without_an_error_whichever_side_ends_them(tmp_path: Path, server: str) -> None:
    """opentelemetry-python-contrib #3327: CancelledError, with Granian after each stream."""
    command: tuple[str, ...] = (script(server), "served:app")
    if server == "granian":
        command = (*command, "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}")
    elif server == "hypercorn":
        command = (*command, "-b", "127.0.0.1:{port}")
    variables = environment(tmp_path)
    with service(tmp_path, command=command, environment=variables, cwd=tmp_path) as app:
        for _ in range(3):
            assert app.get("/stream") == "0123456789"
        leave(app, "/stream")
        wait_for(lambda: streamed(app) == 4, "all streams are counted")
        assert set(values(app.series(), "app_requests_in_progress").values()) == {0}
        no_errors(app.process.log)


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_an_endpoint_learns_that_its_client_has_left(tmp_path: Path, http: str) -> None:
    """sglang #20623: not with metrics, and goes on computing for nobody."""
    command = (script("uvicorn"), "--http", http, "served:app")
    variables = environment(tmp_path)
    with service(tmp_path, command=command, environment=variables, cwd=tmp_path) as app:
        leave(app, "/generate")
        wait_for(lambda: app.get("/left") == "1", "the endpoint has ended", patience=2)


def test_a_daemon_that_has_closed_what_it_inherited_pushes_to_the_end(tmp_path: Path) -> None:
    """opentelemetry-python #4994: OSError, bad file descriptor, and no more metrics.

    It forks before the first push, so that the exporter has no connection yet that it would lose.
    """
    with http_receiver() as (url, receiver):
        variables = {
            **environment(tmp_path),
            "OTEL_METRICS_EXPORTER": "prometheus,otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_METRIC_EXPORT_INTERVAL": "2000",
        }
        command = (sys.executable, "served.py", "{port}")
        with service(tmp_path, command=command, environment=variables, cwd=tmp_path) as app:
            pid = int(app.get("/pid"))
            assert pid != app.process.popen.pid
            wait_for(lambda: 1 in receiver.counts("app_requests").values(), "it pushes")
            app.get("/pid")
            os.kill(pid, signal.SIGTERM)
            assert app.process.popen.wait(20) == 0
            assert list(receiver.counts("app_requests").values()) == [2]
            no_errors(app.process.log)
