"""The metrics' own port of several workers, one of which hangs."""

import sys
from pathlib import Path

import psutil

from tests.support.processes import free_port, get, service, status, wait_for

HANGING = """
import os
import time
from fastapi import FastAPI
from opentelemetry import metrics
import telemetry

app = FastAPI()
telemetry.instrument(app)
hangs = False

def callback(_):
    if hangs:
        time.sleep(1000)
    yield metrics.Observation(os.getpid())

metrics.get_meter("x").create_observable_gauge("asked", [callback])

@app.get("/hang/{pid}")
def hang(pid: int) -> bool:
    global hangs
    hangs = pid == os.getpid()
    return hangs
"""


def test_another_worker_serves_the_port_when_a_callback_hangs(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    port = free_port()
    command = (
        *(sys.executable, "-m", "uvicorn", "hanging:app", "--app-dir", str(tmp_path)),
        *("--workers", "2"),
    )
    environment = {"OTEL_EXPORTER_PROMETHEUS_PORT": str(port)}
    url = f"http://localhost:{port}/metrics"
    with service(tmp_path, command=command, environment=environment) as app:
        wait_for(lambda: status(url) == 200, "the port is served")
        serving = holder(port)
        wait_for(lambda: app.get(f"/hang/{serving}") == "true", "the worker that serves hangs")
        wait_for(lambda: holder(port) not in (None, serving), "another one has the port")
        assert "telemetry_workers" in wait_for(lambda: get(url), "and serves it")


def holder(port: int) -> int | None:
    """The process that listens there."""
    for connection in psutil.net_connections("tcp"):
        listens = connection.status == psutil.CONN_LISTEN
        if listens and connection.laddr and connection.laddr.port == port:
            return connection.pid
    return None
