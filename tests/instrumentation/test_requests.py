"""One request, one count: whatever becomes of it."""

import asyncio
import gc
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable

import pytest
from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from opentelemetry.context import Context
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from telemetry.instrumentation.recorder import recorder_of
from tests.support.applications import Measured, exchange
from tests.support.series import total


def test_an_answer_is_one_request_one_response_and_one_duration() -> None:
    measured = Measured()

    @measured.app.get("/items/{item_id}", status_code=201)
    async def item(item_id: int) -> int:
        return item_id

    for number in range(3):
        measured.client.get(f"/items/{number}")
    assert measured.requests() == {("GET", "/items/{item_id}"): 3}
    assert measured.responses() == {("GET", "/items/{item_id}", "201"): 3}
    durations = "app_requests_processing_time_seconds_count"
    assert total(measured.series(), durations) == 3


def test_a_stream_lasts_until_its_last_byte() -> None:
    measured = Measured()

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"chunk"
            await asyncio.sleep(0.05)

    @measured.app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(chunks())

    measured.client.get("/stream")
    assert measured.responses() == {("GET", "/stream", "200"): 1}
    assert measured.seconds("/stream") >= 0.2


def test_background_tasks_are_neither_in_the_duration_nor_do_they_delay_the_count() -> None:
    measured = Measured()
    counted_before_the_task: list[dict[tuple[str, ...], float]] = []

    async def task() -> None:
        text = measured.client.get("/metrics").text
        counted_before_the_task.append({("GET", "/"): float('path="/"} 1.0' in text)})
        await asyncio.sleep(0.3)

    @measured.app.get("/")
    async def root(background: BackgroundTasks) -> str:
        background.add_task(task)
        return "ok"

    measured.client.get("/")
    assert counted_before_the_task == [{("GET", "/"): 1.0}]
    assert measured.seconds("/") < 0.3
    assert measured.requests() == {("GET", "/"): 1}


def test_a_background_task_that_fails_leaves_the_response_as_it_was() -> None:
    measured = Measured()

    def task() -> None:
        raise RuntimeError("after the response")

    @measured.app.get("/")
    async def root(background: BackgroundTasks) -> str:
        background.add_task(task)
        return "ok"

    measured.client.get("/")
    assert measured.responses() == {("GET", "/", "200"): 1}


def test_what_other_middleware_answers_is_counted_under_the_route_it_was_for() -> None:
    """The middleware is added after `instrument`, which makes it the outer one."""
    measured = Measured()

    @measured.app.get("/items/{item_id}")
    async def item(item_id: int) -> int:
        return item_id

    class Auth(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            if request.headers.get("authorization") is None and request.method != "OPTIONS":
                return JSONResponse({}, status_code=401)
            return await call_next(request)

    measured.app.add_middleware(Auth)
    measured.app.add_middleware(CORSMiddleware, allow_origins=["https://example.org"])
    measured.app.add_middleware(TrustedHostMiddleware, allowed_hosts=["testserver"])

    authorized = {"authorization": "yes"}
    preflight = {"origin": "https://example.org", "access-control-request-method": "GET"}
    measured.client.get("/items/1")
    measured.client.get("/nope")
    measured.client.get("/items/1", headers=authorized)
    measured.client.options("/items/1", headers=preflight)
    measured.client.get("/items/1", headers={"host": "elsewhere"})
    measured.client.headers.update(authorized)
    assert measured.responses() == {
        ("GET", "/items/{item_id}", "401"): 1,
        ("GET", "unmatched", "401"): 1,
        ("GET", "/items/{item_id}", "200"): 1,
        ("OPTIONS", "/items/{item_id}", "200"): 1,
        ("GET", "/items/{item_id}", "400"): 1,
    }


def test_what_middleware_inside_a_mounted_application_answers() -> None:
    measured, sub = Measured(), FastAPI()

    @sub.get("/items/{item_id}")
    async def item(item_id: int) -> int:
        return item_id

    class Closed:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await Response(status_code=403)(scope, receive, send)

    sub.add_middleware(Closed)
    measured.app.mount("/sub", sub)
    measured.client.get("/sub/items/1")
    assert measured.responses() == {("GET", "/sub/items/{item_id}", "403"): 1}


def test_middleware_that_hands_on_a_copy_of_the_scope() -> None:
    measured = Measured()

    class Copying:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self.app(dict(scope), receive, send)

    @measured.app.get("/items/{item_id}")
    async def item(item_id: int) -> int:
        return item_id

    measured.app.add_middleware(Copying)
    measured.client.get("/items/1")
    assert measured.requests() == {("GET", "/items/{item_id}"): 1}


def test_methods_outside_the_known_ones_share_one_value() -> None:
    measured = Measured()

    @measured.app.api_route("/", methods=["GET", "PURGE", "QUERY"])
    async def root() -> None:
        raise HTTPException(204)

    for method in ("GET", "PURGE", "BREW", "get", "X" * 1000, "QUERY"):
        measured.client.request(method, "/")
    assert set(measured.requests()) == {("GET", "/"), ("_OTHER", "/"), ("QUERY", "/")}


def test_a_mounted_application_that_is_instrumented_too_is_counted_once() -> None:
    outer, inner = Measured(), Measured(instrument=False)

    @inner.app.get("/items/{item_id}")
    async def item(item_id: int) -> int:
        return item_id

    inner.provider = outer.provider
    inner.instrument()
    outer.app.mount("/sub", inner.app)
    outer.client.get("/sub/items/1")
    assert outer.requests() == {("GET", "/sub/items/{item_id}"): 1}


def test_websockets_and_the_lifespan_pass_untouched() -> None:
    measured = Measured()

    @measured.app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())

    with measured.client as client, client.websocket_connect("/socket") as connection:
        connection.send_text("echo")
        assert connection.receive_text() == "echo"
    assert measured.requests() == {}


def test_excluded_paths_are_not_counted() -> None:
    measured = Measured()
    for path in ("/docs", "/redoc", "/openapi.json", "/metrics", "/favicon.ico"):
        measured.client.get(path)
        measured.client.head(path)
        measured.client.post(path)
    assert measured.requests() == {}


def test_excluded_paths_are_those_below_the_root_path() -> None:
    measured = Measured()
    TestClient(measured.app, root_path="/api").get("/api/favicon.ico")
    assert measured.requests() == {}


def test_excluded_paths_can_be_chosen() -> None:
    measured = Measured(instrument=False)
    measured.instrument(excluded_paths=["/health/{part}", "/unrouted"])

    @measured.app.get("/health/{part}")
    async def health(part: str) -> str:
        return part

    for path in ("/health/database", "/unrouted", "/docs"):
        measured.client.get(path)
    assert measured.paths() == {"/docs"}


def test_durations_come_from_a_clock_that_does_not_step(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Measured()

    @measured.app.get("/")
    async def root() -> str:
        monkeypatch.setattr(time, "time", lambda: time.monotonic() - 1e9)
        return "ok"

    measured.client.get("/")
    monkeypatch.undo()
    assert 0 <= measured.seconds("/") < 10


def test_a_recorder_that_fails_costs_a_log_line_and_no_response(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Measured()

    @measured.app.get("/")
    async def root() -> str:
        return "ok"

    def fail(*_: object) -> None:
        raise MemoryError("full")

    monkeypatch.setattr("telemetry.instrumentation.requests._logger.filters", [])
    monkeypatch.setattr("telemetry.instrumentation.routes.RouteTemplates.of", fail)
    assert measured.client.get("/").json() == "ok"
    assert "could not be counted" in caplog.text


def test_requests_in_many_threads_at_once_lose_nothing() -> None:
    measured = Measured()

    @measured.app.get("/")
    async def root() -> str:
        return "ok"

    def work() -> None:
        async def many() -> None:
            for _ in range(250):
                await exchange(measured.app, "/")

        asyncio.run(many())

    in_threads(4, work)
    assert measured.requests() == {("GET", "/"): 1000}
    assert total(measured.series(), "app_requests_processing_time_seconds_count") == 1000


def test_recording_and_collecting_in_many_threads_at_once_lose_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threads take turns wherever they can: at each look for a span, as at a busy moment."""
    measured = Measured()
    recorder = recorder_of(measured.provider)

    def look() -> Context:
        time.sleep(0)
        return Context()

    monkeypatch.setattr("telemetry.instrumentation.recorder._current_context", look)
    monkeypatch.setattr("telemetry.instrumentation.recorder._BATCH_SIZE", 3)

    def work() -> None:
        for number in range(2_000):
            recorder.series("GET", f"/{number % 7}", 200).record(0.001, 0.001)
            if number % 500 == 0:
                measured.series()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        in_threads(6, work)
    finally:
        sys.setswitchinterval(before)
    series = measured.series()
    assert total(series, "app_requests_total") == 12_000
    assert total(series, "app_requests_processing_time_seconds_count") == 12_000


def in_threads(count: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_an_application_that_nobody_keeps_is_freed() -> None:
    measured = Measured()

    @measured.app.get("/")
    async def root() -> str:
        return "ok"

    measured.client.get("/")
    gone = weakref.ref(measured.app)
    del measured, root
    gc.collect()
    assert gone() is None


def test_a_comma_at_the_end_excludes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_EXCLUDED_URLS", "health,")
    measured = Measured()
    for path in ("/health", "/nope"):
        measured.client.get(path)
    assert measured.requests() == {("GET", "unmatched"): 1}
