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
from opentelemetry.sdk.metrics import MeterProvider
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.instrumentation.recorder import recorder_of
from tests.support.applications import Connection, Measured, exchange
from tests.support.series import total


def seconds(measured: Measured, path: str) -> float:
    """The summed duration of the requests to one path."""
    return total(measured.series(), "app_requests_processing_time_seconds_sum", path=path)


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
    assert seconds(measured, "/stream") >= 0.2


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
    assert seconds(measured, "/") < 0.3
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


def test_an_unhandled_exception_is_a_500_and_is_raised_unchanged() -> None:
    measured = Measured()
    error = RuntimeError("unhandled")

    @measured.app.get("/fails")
    async def fails() -> None:
        raise error

    with pytest.raises(RuntimeError) as raised:
        asyncio.run(exchange(measured.app, "/fails"))
    assert raised.value is error
    assert measured.responses() == {("GET", "/fails", "500"): 1}


def test_an_exception_handler_of_the_application_decides_the_status() -> None:
    measured = Measured()

    @measured.app.exception_handler(Exception)
    async def unavailable(request: Request, error: Exception) -> Response:
        return Response(status_code=503)

    @measured.app.exception_handler(KeyError)
    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=410)

    @measured.app.get("/{kind}")
    async def fails(kind: str) -> None:
        raise KeyError if kind == "key" else ValueError

    measured.client.get("/key")
    measured.client.get("/value")
    assert set(measured.responses()) == {("GET", "/{kind}", "410"), ("GET", "/{kind}", "503")}


def test_an_exception_after_the_response_has_started_keeps_the_status_that_was_sent() -> None:
    measured = Measured()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        raise RuntimeError("in the middle")

    @measured.app.get("/")
    async def root() -> StreamingResponse:
        return StreamingResponse(chunks())

    with pytest.raises(RuntimeError, match="in the middle"):
        asyncio.run(exchange(measured.app, "/"))
    assert measured.responses() == {("GET", "/", "200"): 1}
    assert measured.requests() == {("GET", "/"): 1}


def test_an_application_that_never_answers_is_the_servers_500() -> None:
    measured = Measured()

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        return None

    measured.app.mount("/silent", silent)
    asyncio.run(exchange(measured.app, "/silent/x"))
    assert measured.responses() == {("GET", "unmatched", "500"): 1}


def test_a_client_that_leaves_before_the_response_is_a_request_without_response() -> None:
    measured = Measured()

    @measured.app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(0.2)
        return "to nobody"

    asyncio.run(exchange(measured.app, "/slow", received=[], leave_after=0.05))
    assert measured.requests() == {("GET", "/slow"): 1}
    assert measured.responses() == {}


def test_a_client_that_leaves_while_it_sends_is_a_request_without_response() -> None:
    measured = Measured()

    @measured.app.post("/upload")
    async def upload(request: Request) -> int:
        return len(await request.body())

    part: Message = {"type": "http.request", "body": b"part", "more_body": True}
    with pytest.raises(ClientDisconnect):
        asyncio.run(
            exchange(measured.app, "/upload", method="POST", received=[part], leave_after=0.05)
        )
    assert measured.requests() == {("POST", "/upload"): 1}
    assert measured.responses() == {}


def test_a_client_that_leaves_after_the_response_has_started_is_in_both() -> None:
    measured = Measured()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"event"
            await asyncio.sleep(0.01)

    @measured.app.get("/events")
    async def events() -> StreamingResponse:
        return StreamingResponse(endless())

    asyncio.run(exchange(measured.app, "/events", leave_after=0.05))
    assert measured.requests() == {("GET", "/events"): 1}
    assert measured.responses() == {("GET", "/events", "200"): 1}


@pytest.mark.parametrize("native", [True, False])
def test_measuring_takes_no_message_from_the_application(native: bool) -> None:
    """To receive is to invite a client that waits with Expect: 100-continue."""
    measured = Measured(instrument=False)
    measured.app = FastAPI(telemetry={"metrics": native, "meter_provider": measured.provider})
    measured.client = TestClient(measured.app)
    measured.instrument()
    connections: list[Connection] = []

    @measured.app.post("/{kind}")
    async def late(kind: str) -> str:
        await asyncio.sleep(0.05)
        if kind == "fails":
            raise RuntimeError
        return "ok"

    async def request(path: str) -> None:
        connection = Connection([{"type": "http.request", "body": b"x", "more_body": True}], None)
        connections.append(connection)
        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
        await measured.app(scope, connection.receive, connection.send)

    asyncio.run(request("/answers"))
    with pytest.raises(RuntimeError):
        asyncio.run(request("/fails"))
    assert [connection.taken for connection in connections] == [0, 0]
    assert set(measured.responses()) == {("POST", "/{kind}", "200"), ("POST", "/{kind}", "500")}


def test_a_client_that_leaves_is_noticed_through_fastapis_own_metrics() -> None:
    provider = MeterProvider(shutdown_on_exit=False)
    measured = Measured(FastAPI(telemetry={"meter_provider": provider}))

    @measured.app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(0.1)
        return "to nobody"

    asyncio.run(exchange(measured.app, "/slow", leave_after=0.05))
    assert measured.requests() == {("GET", "/slow"): 1}
    assert measured.responses() == {}


def test_a_task_that_is_cancelled_within_the_application_is_the_servers_500() -> None:
    measured = Measured()

    @measured.app.get("/cancels")
    async def cancels() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(exchange(measured.app, "/cancels"))
    assert measured.responses() == {("GET", "/cancels", "500"): 1}


def test_a_task_that_is_cancelled_because_the_client_left_has_no_response() -> None:
    measured = Measured()

    @measured.app.get("/slow")
    async def slow() -> None:
        await asyncio.sleep(60)

    async def cancel() -> None:
        task = asyncio.create_task(exchange(measured.app, "/slow", leave_after=0.01))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert measured.requests() == {("GET", "/slow"): 1}
    assert measured.responses() == {}


def test_trailers_and_files_end_when_they_have_been_sent() -> None:
    measured = Measured()
    pathsend: list[str] = []

    async def with_trailers(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"x"})
        await asyncio.sleep(0.1)
        await send({"type": "http.response.trailers", "headers": [], "more_trailers": False})

    @measured.app.get("/file")
    async def file() -> FileResponse:
        return FileResponse(__file__)

    async def note(message: Message) -> None:
        pathsend.append(message["type"])

    measured.app.mount("/trailers", with_trailers)
    asyncio.run(exchange(measured.app, "/trailers/x"))
    extensions: dict[str, dict[str, str]] = {"http.response.pathsend": {}}
    asyncio.run(exchange(measured.app, "/file", on_send=note, extensions=extensions))
    assert "http.response.pathsend" in pathsend
    assert seconds(measured, "unmatched") >= 0.1
    assert measured.requests() == {("GET", "unmatched"): 1, ("GET", "/file"): 1}


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
    assert 0 <= seconds(measured, "/") < 10


def test_a_recorder_that_fails_costs_a_log_line_and_no_response(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Measured()

    @measured.app.get("/")
    async def root() -> str:
        return "ok"

    def fail(*_: object) -> None:
        raise MemoryError("full")

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

    monkeypatch.setattr("telemetry.instrumentation.recorder.get_current", look)
    monkeypatch.setattr("telemetry.instrumentation.recorder._TOGETHER", 3)

    def work() -> None:
        for number in range(2_000):
            recorder.record("GET", f"/{number % 7}", 200, 0.001)
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
