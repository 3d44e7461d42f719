"""Clients that leave, and clients that wait to be asked, with each server that we name."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Service, script, service, wait_for
from tests.support.series import values

APP = """
import asyncio
from fastapi import FastAPI
import telemetry

app = FastAPI(telemetry={"metrics": %s})
telemetry.instrument(app)

@app.api_route("/{kind}", methods=["GET", "POST"])
async def slow(kind: str) -> str:
    await asyncio.sleep(0.3)
    if kind == "fails":
        raise RuntimeError
    return "ok"
"""
SERVERS = {
    "httptools": ("uvicorn", "--http", "httptools"),
    "h11": ("uvicorn", "--http", "h11"),
    "gunicorn": ("gunicorn", "-k", "uvicorn_worker.UvicornWorker", "--bind", "127.0.0.1:{port}"),
}


@pytest.fixture(params=[(name, native) for name in SERVERS for native in (False, True)], ids=str)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    name, native = request.param
    (tmp_path / "served.py").write_text(APP % native)
    program, *options = SERVERS[name]
    command = (script(program), *options, "served:app")
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    with service(tmp_path, command=command, environment=environment, cwd=tmp_path) as running:
        yield running


def send(app: Service, content: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", app.port), timeout=10)
    connection.sendall(content)
    return connection


def counts(app: Service, name: str) -> dict[tuple[str, ...], float]:
    return values(app.series(), name)


def test_clients(app: Service) -> None:
    """One that leaves, one that stays, and one that waits for a word before it sends."""
    head = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    for path in (b"/answers", b"/fails"):
        with send(app, b"GET " + path + head + b"\r\n"):
            time.sleep(0.1)
        with send(app, b"GET " + path + head + b"\r\n") as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1")
    waiting = b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    with send(app, b"POST /answers" + head + waiting) as connection:
        # The application does not read the body, so nobody asks for it.
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    requests = {("GET", "/{kind}"): 4.0, ("POST", "/{kind}"): 1.0}
    wait_for(lambda: counts(app, "app_requests_total") == requests, "all requests are counted")
    assert counts(app, "app_responses_total") == {
        ("GET", "/{kind}", "200"): 1,
        ("GET", "/{kind}", "500"): 1,
        ("POST", "/{kind}", "200"): 1,
    }
