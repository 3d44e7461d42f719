"""The application behind a real server: addresses, abandoned requests, stalls."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Service, get, program, service, wait_for
from tests.support.series import parse, total, values


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("app")) as running:
        yield running


def test_the_tutorials_endpoints(app: Service) -> None:
    assert app.get("/") == '{"message":"Hello World"}'
    assert app.get("/health") == '{"status":"ok"}'
    assert app.get("/increase_count") == '{"count":1}'
    assert "Swagger UI" in app.get("/docs")
    assert 0.1 <= float(app.get("/random_sleep").split(":")[1].rstrip("}")) <= 0.5
    assert app.status("/health/") == 404


def test_metrics_are_those_of_the_tutorial_and_not_fastapis(app: Service) -> None:
    app.get("/")
    delay = "app_event_loop_delay_seconds_count"
    wait_for(lambda: values(app.series(), delay), "the first heartbeats are recorded")
    names = {name for name, _ in app.series()}
    # A pause of the garbage collector need not have been.
    # Nor has every machine's container a limit.
    others = ("process_", "target_", "telemetry_", "app_gc_pause_seconds", "app_memory_limit")
    own = {name for name in names if not name.startswith(others)}
    assert own == {
        "app_requests_total",
        "app_responses_total",
        "app_requests_processing_time_seconds_bucket",
        "app_requests_processing_time_seconds_count",
        "app_requests_processing_time_seconds_sum",
        "app_requests_time_to_first_byte_seconds_bucket",
        "app_requests_time_to_first_byte_seconds_count",
        "app_requests_time_to_first_byte_seconds_sum",
        "app_requests_in_progress",
        "app_memory_usage_bytes",
        "app_increase_count_total",
        "app_event_loop_delay_seconds_bucket",
        "app_event_loop_delay_seconds_count",
        "app_event_loop_delay_seconds_sum",
        "app_thread_pool_in_use",
        "app_thread_pool_size",
        "app_thread_pool_waiting",
        "app_file_descriptor_limit",
        "app_worker_starts_total",
        "cpython_gc_collections_total",
    }


def test_where_it_is_to_be_found_is_printed(app: Service) -> None:
    assert f"http://127.0.0.1:{app.port}/docs" in app.process.log
    assert f"http://127.0.0.1:{app.port}/metrics" in app.process.log


def test_promtool_has_no_complaint(app: Service) -> None:
    result = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=app.get("/metrics"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    # Nothing but that OpenTelemetry's conventions have a name that Prometheus's advise against.
    advice = 'non-histogram and non-summary metrics should not have "_count" suffix'
    assert result.stderr.splitlines() == [f"process_unix_file_descriptor_count {advice}"]
    assert result.stdout == ""


def requests_to(app: Service, path: str) -> float:
    return total(app.series(), "app_requests_total", path=path)


def responses_from(app: Service, path: str) -> float:
    return total(app.series(), "app_responses_total", path=path)


def test_a_client_that_does_not_wait(app: Service) -> None:
    requests, responses = (
        requests_to(app, "/random_sleep"),
        responses_from(app, "/random_sleep"),
    )
    with socket.create_connection(("127.0.0.1", app.port)) as connection:
        connection.sendall(b"GET /random_sleep HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.03)
    wait_for(lambda: requests_to(app, "/random_sleep") == requests + 1, "the request is counted")
    assert responses_from(app, "/random_sleep") == responses


def test_each_of_many_requests_on_one_connection(app: Service) -> None:
    before = requests_to(app, "/health")
    request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", app.port)) as connection:
        connection.sendall(request * 20)
        received = b""
        while received.count(b"HTTP/1.1 200") < 20:
            received += connection.recv(65536)
    assert requests_to(app, "/health") == before + 20


def test_the_count_is_there_as_soon_as_the_response_is(app: Service) -> None:
    before = requests_to(app, "/")
    for number in range(1, 20):
        app.get("/")
        assert requests_to(app, "/") == before + number


LARGE = """
import asyncio, time
from fastapi import FastAPI
from opentelemetry import metrics
import telemetry

app = FastAPI()
telemetry.instrument(app)
counter = metrics.get_meter("large").create_counter("large")
for i in range(1900):
    counter.add(1, {"number": str(i), "more": "x" * 50})
histogram = metrics.get_meter("large").create_histogram("wide", unit="s")
for i in range(500):
    histogram.record(1, {"number": str(i)})

@app.get("/longest_gap")
async def longest_gap() -> float:
    last, longest = time.perf_counter(), 0.0
    end = last + 1.0
    while last < end:
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        last, longest = now, max(longest, now - last)
    return longest
"""


def test_a_scrape_of_ten_thousand_lines_does_not_stop_other_requests(tmp_path: Path) -> None:
    (tmp_path / "large.py").write_text(LARGE)
    command = (sys.executable, "-m", "uvicorn", "large:app", "--app-dir", str(tmp_path))
    with service(tmp_path, command=command) as large:
        began = time.perf_counter()
        text = large.get("/metrics")
        took = time.perf_counter() - began
        assert len(text.splitlines()) > 10_000
        assert values(parse(text), "large_total")
        gaps: list[float] = []
        thread = threading.Thread(
            target=lambda: gaps.append(float(get(f"{large.url}/longest_gap")))
        )
        thread.start()
        time.sleep(0.2)
        large.get("/metrics")
        thread.join()
        # On the event loop it would have been the whole of the scrape.
        assert gaps[0] < took / 2
