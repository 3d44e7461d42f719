"""A real server, and clients that mean it harm."""

import concurrent.futures
import os
import random
import socket
import string
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from tests.support.processes import ROOT, free_port, get, script, service, wait_for
from tests.support.series import parse, total, values

COUNTING = """
import time
from fastapi import FastAPI
from opentelemetry import metrics
from opentelemetry.metrics import Observation
import telemetry

app = FastAPI()
telemetry.instrument(app)
collections = 0

def callback(_):
    global collections
    collections += 1
    time.sleep(0.2)
    yield Observation(collections)

metrics.get_meter("x").create_observable_gauge("collections", callbacks=[callback])

@app.get("/")
async def root() -> str:
    return "ok"
"""


def test_random_requests_over_raw_sockets(tmp_path: Path) -> None:
    numbers = random.Random(6)
    nasty = ["%00", "%0a", "%22%7d", "%5c", "%ff%fe", "%7b", "%3c", "%c3%a9", "a" * 4000]

    def request(last: bool) -> bytes:
        word = "".join(numbers.choices(string.ascii_letters, k=8)) + numbers.choice(nasty)
        # httptools itself refuses what no RFC knows.
        method = numbers.choice(["GET", "POST", "PURGE", "LINK"])
        headers = f"Host: {word[:8]}\r\nX-{word[:8]}: y\r\n" + "Connection: close\r\n" * last
        return f"{method} /{word}?{word} HTTP/1.1\r\n{headers}\r\n".encode()

    with service(tmp_path, "--no-access-log") as app:
        answers = 0
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", app.port), timeout=10) as connection:
                connection.sendall(b"".join(request(number == 9) for number in range(10)))
                received = b""
                while part := connection.recv(65536):
                    received += part
                answers += received.count(b"HTTP/1.1 ")
        assert answers == 2000
        for garbage in (b"\x00" * 100, b"GET / HTTP/9.9\r\n\r\n", b"\xff\xfe\r\n\r\n", b"GET"):
            with socket.create_connection(("127.0.0.1", app.port), timeout=10) as connection:
                connection.sendall(garbage)
        series = app.series()
        assert {path for _, path in values(series, "app_requests_total")} == {"unmatched"}
        assert len(values(series, "app_requests_total")) <= 11
        assert app.get("/health") == '{"status":"ok"}'


def test_two_hundred_scrapes_at_once_are_few_collections(tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    command = (sys.executable, "-m", "uvicorn", "counting:app", "--app-dir", str(tmp_path))
    with service(tmp_path, command=command) as app:
        with concurrent.futures.ThreadPoolExecutor(200) as pool:
            texts = list(pool.map(lambda _: app.get("/metrics"), range(200)))
        assert all(total(parse(text), "app_memory_usage_bytes", type="rss") for text in texts)
        # Each takes 0.2 s and is shared by all who come meanwhile.
        (collections,) = values(app.series(), "collections").values()
        assert collections <= 20


def test_connections_to_the_own_port_leave_the_application_alone(tmp_path: Path) -> None:
    """They are many more than the process has file descriptors."""
    (tmp_path / "counting.py").write_text(COUNTING)
    own = free_port()
    start = f"ulimit -n 200; exec {sys.executable} -m uvicorn counting:app --port {{port}}"
    environment = {
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(own),
        "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
    }
    with (
        service(tmp_path, command=("bash", "-c", start), environment=environment) as app,
        ExitStack() as stack,
    ):
        wait_for(lambda: get(f"http://127.0.0.1:{own}/metrics"), "the port is served")
        process = psutil.Process(app.process.popen.pid)
        for _ in range(400):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", own), timeout=10))
            half.sendall(b"GET /met")
            time.sleep(0.002)
            with suppress(OSError):
                half.sendall(b"r")
        assert app.get("/") == '"ok"'
        assert "app_requests_total" in get(f"http://127.0.0.1:{own}/metrics")
        assert process.num_fds() < 80
        assert process.num_threads() < 20
        assert "Traceback" not in app.process.log


def test_a_long_event_stream_is_one_request_when_it_ends(tmp_path: Path) -> None:
    streaming = (
        COUNTING
        + """
import asyncio
from fastapi.responses import StreamingResponse

@app.get("/events")
async def events() -> StreamingResponse:
    async def forever():
        while True:
            yield b"data: x\\n\\n"
            await asyncio.sleep(0.05)
    return StreamingResponse(forever(), media_type="text/event-stream")
"""
    )
    (tmp_path / "streaming.py").write_text(streaming)
    command = (sys.executable, "-m", "uvicorn", "streaming:app", "--app-dir", str(tmp_path))
    with service(tmp_path, command=command) as app:
        with socket.create_connection(("127.0.0.1", app.port)) as connection:
            connection.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            for _ in range(40):
                connection.recv(1000)
            assert total(app.series(), "app_requests_total", path="/events") == 0
        wait_for(lambda: total(app.series(), "app_requests_total", path="/events") == 1, "its end")
        series = app.series()
        assert total(series, "app_responses_total", path="/events", status_code="200") == 1
        assert total(series, "app_requests_processing_time_seconds_sum", path="/events") > 1


def test_the_applications_own_schema_holds(tmp_path: Path) -> None:
    with service(tmp_path, "--no-access-log") as app:
        result = subprocess.run(
            [
                *(script("schemathesis"), "run", f"{app.url}/openapi.json"),
                *("--checks", "not_a_server_error,response_schema_conformance"),
                *("--max-examples", "15", "--suppress-health-check", "all"),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert result.returncode == 0, result.stdout + result.stderr
        paths = {path for _, path in values(parse(get(f"{app.url}/metrics")), "app_requests_total")}
        assert paths <= {"/", "/health", "/random_sleep", "/increase_count", "unmatched"}
