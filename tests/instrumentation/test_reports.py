"""What users of other packages have reported, and does not happen here."""

import asyncio
import gc
import gzip
import logging
import runpy
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest
from anyio import create_memory_object_stream, create_task_group
from anyio.abc import TaskGroup
from fastapi import APIRouter, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from opentelemetry.sdk.metrics import MeterProvider
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

import telemetry
from telemetry.instrumentation.saturation import garbage
from telemetry.instrumentor import FastAPIMetricsInstrumentor
from tests.support.applications import Measured, exchange
from tests.support.series import parse, total, values

PREFLIGHT = {"origin": "https://example.org", "access-control-request-method": "GET"}


async def answer() -> str:
    return "ok"


class Denying:
    """Middleware that answers before routing, where a header asks for it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_denied = b"x-deny" in dict(scope.get("headers", ()))
        app = PlainTextResponse("no", status_code=401) if is_denied else self.app
        await app(scope, receive, send)


class Instrument(Protocol):
    """Has an application measured by a provider."""

    def __call__(self, app: FastAPI, provider: MeterProvider) -> None: ...


@pytest.fixture(params=["by a line", "unasked"])
def instrument(request: pytest.FixtureRequest) -> Iterator[Instrument]:
    """Both ways to have an application measured."""
    if request.param == "by a line":
        yield lambda app, provider: telemetry.instrument(app, meter_provider=provider)
        return
    instrumentor = FastAPIMetricsInstrumentor()
    yield lambda _, provider: instrumentor.instrument(meter_provider=provider)
    instrumentor.uninstrument()


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
@pytest.mark.parametrize("root_path", ["", "/api"])
def test_a_root_path_of_the_application_leaves_the_template(root_path: str) -> None:
    """prometheus-fastapi-instrumentator #387: handler="none"."""
    measured = Measured(FastAPI(root_path="/api"))
    measured.app.get("/items/{i}")(answer)
    measured.app.add_middleware(Denying)
    client = TestClient(measured.app, root_path=root_path)
    for path in ("/items/1", "/api/items/2"):
        assert client.get(path).status_code == 200
        assert client.get(path, headers={"x-deny": "1"}).status_code == 401
    assert measured.responses() == {
        ("GET", "/items/{i}", "200"): 2,
        ("GET", "/items/{i}", "401"): 2,
    }


@pytest.mark.parametrize("first", [True, False])
def test_routers_count_whether_they_are_included_before_or_after(first: bool) -> None:
    """prometheus-fastapi-instrumentator #274: only paths of the application itself."""
    measured = Measured(instrument=first)
    for name in ("books", "authors", "shops"):
        router = APIRouter(prefix=f"/{name}", tags=[name])
        router.get("/{i}")(answer)
        measured.app.include_router(router, prefix="/api/v1")
    measured.instrument()
    for name in ("books", "authors", "shops"):
        measured.client.get(f"/api/v1/{name}/1")
    assert measured.paths() == {f"/api/v1/{name}/{{i}}" for name in ("books", "authors", "shops")}


@pytest.mark.parametrize(
    ("method", "path", "template", "status"),
    [
        ("GET", "/v1/items/1", "/v1/items/{i}", 200),
        ("GET", "/v1/nope", "unmatched", 404),
        # The path matches, the method does not.
        ("POST", "/v1/items/1", "/v1/items/{i}", 405),
        ("HEAD", "/v1/items/1", "/v1/items/{i}", 405),
        ("OPTIONS", "/v1/items/1", "/v1/items/{i}", 405),
    ],
)
def test_each_method_of_an_included_router_is_answered_and_counted(
    method: str, path: str, template: str, status: int
) -> None:
    """prometheus-fastapi-instrumentator #375, #379, opentelemetry-python-contrib #4732: 500."""
    measured, router = Measured(), APIRouter()
    router.get("/items/{i}")(answer)
    measured.app.include_router(router, prefix="/v1")
    assert measured.client.request(method, path).status_code == status
    assert measured.responses() == {(method, template, str(status)): 1}


def test_preflights_to_an_included_router_share_the_template() -> None:
    """opentelemetry-python-contrib #4732: 500. starlette_exporter #35: a series for each path."""
    measured, router = Measured(), APIRouter()
    router.get("/items/{i}")(answer)
    measured.app.include_router(router, prefix="/v1")
    measured.app.add_middleware(CORSMiddleware, allow_origins=["https://example.org"])
    for number in range(3):
        answered = measured.client.options(f"/v1/items/{number}", headers=PREFLIGHT)
        assert answered.headers["access-control-allow-origin"] == "https://example.org"
    assert measured.responses() == {("OPTIONS", "/v1/items/{i}", "200"): 3}


def test_a_websocket_of_an_included_router_is_open_under_its_template() -> None:
    """prometheus-fastapi-instrumentator #375."""
    measured, router = Measured(), APIRouter()

    @router.websocket("/rooms/{room}")
    async def rooms(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()

    measured.app.include_router(router, prefix="/v1")
    with measured.client.websocket_connect("/v1/rooms/1") as connection:
        shown = values(measured.series(), "app_websockets_open")
        connection.send_text("over")
    assert shown == {("/v1/rooms/{room}",): 1}


def test_a_module_that_is_loaded_twice_has_one_series_of_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As ``python main.py`` that runs uvicorn with "main:app" loads it.

    starlette_exporter #23: ValueError, duplicated timeseries.
    """
    code = """
from fastapi import FastAPI
import telemetry
predictions = provider.get_meter("shop").create_counter("predict", description="Predictions.")
app = FastAPI()
telemetry.instrument(app, meter_provider=provider)

@app.get("/predict")
def predict() -> None:
    predictions.add(1, {"endpoint": "/predict"})
"""
    (tmp_path / "main.py").write_text(code)
    given = {"provider": MeterProvider(shutdown_on_exit=False)}
    for name in ("__main__", "main"):
        module = runpy.run_path(str(tmp_path / "main.py"), given, name)
        client = TestClient(module["app"])
        client.get("/predict")
    series = parse(client.get("/metrics").text)
    assert values(series, "predict_total") == {("/predict",): 2}
    assert values(series, "app_requests_total") == {("GET", "/predict"): 2}
    assert not [line for line in caplog.messages if "app_" in line]


def test_an_application_within_another_one_is_measured(instrument: Instrument) -> None:
    """opentelemetry-python-contrib #4031: CORSMiddleware around it, and nothing is measured."""
    app, provider = FastAPI(), MeterProvider(shutdown_on_exit=False)
    app.get("/items/{i}")(answer)
    instrument(app, provider)
    client = TestClient(CORSMiddleware(app, allow_origins=["https://example.org"]))
    answered = client.get("/items/1", headers={"origin": "https://example.org"})
    assert answered.headers["access-control-allow-origin"] == "https://example.org"
    # What is answered around it has not come to it.
    assert client.options("/items/1", headers=PREFLIGHT).status_code == 200
    series = parse(client.get("/metrics").text)
    assert values(series, "app_responses_total") == {("GET", "/items/{i}", "200"): 1}


Handler = Callable[[Request, Exception], Awaitable[Response]]


async def own_page(request: Request, error: Exception) -> Response:
    """What users have as a handler of every exception."""
    return Response(status_code=getattr(error, "status_code", 503))


@pytest.mark.parametrize(
    ("error", "handler", "status"),
    [
        # prometheus/client_python #702: 401 for the client, and a 5xx is counted.
        (HTTPException(401), own_page, 401),
        # opentelemetry-python-contrib #3012: nothing is told of the 500.
        (HTTPException(401), None, 500),
        (LookupError(), own_page, 503),
        (LookupError(), None, 500),
    ],
)
def test_what_a_middleware_raises_is_counted_as_the_client_sees_it(
    error: Exception, handler: Handler | None, status: int
) -> None:
    class Raising(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            if request.url.path != "/metrics":
                raise error
            return await call_next(request)

    measured = Measured()
    measured.app.get("/items/{i}")(answer)
    measured.app.add_middleware(Raising)
    if handler is not None:
        measured.app.add_exception_handler(Exception, handler)
    assert measured.client.get("/items/1").status_code == status
    assert measured.responses() == {("GET", "/items/{i}", str(status)): 1}


def test_applications_that_a_test_suite_makes_are_freed(instrument: Instrument) -> None:
    """opentelemetry-python-contrib #3289: an application stays in a list of those instrumented."""
    provider, gone = MeterProvider(shutdown_on_exit=False), []
    for _ in range(3):
        app = FastAPI()
        app.get("/")(answer)
        instrument(app, provider)
        with TestClient(app) as client:
            client.get("/")
        gone.append(weakref.ref(app))
        del app, client
    gc.collect()
    assert [each() for each in gone] == [None] * 3


def test_instruments_are_made_once_however_often_a_stack_is_built(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """opentelemetry-python-contrib #1335: "has been created already", once for each."""
    measured = Measured()
    with caplog.at_level(logging.DEBUG, "opentelemetry"):
        for _ in range(3):
            again = Measured(instrument=False)
            again.provider = measured.provider
            again.instrument()
            for _ in range(2):
                again.app.middleware_stack = again.app.build_middleware_stack()
                again.client.get("/nope")
    assert caplog.messages == []
    assert measured.requests() == {("GET", "unmatched"): 6}


def test_middleware_can_be_added_after_all(instrument: Instrument) -> None:
    """opentelemetry-python-contrib #2042: "Cannot add middleware after an application has
    started", when it has been instrumented, or is not any more.
    """
    app, provider = FastAPI(), MeterProvider(shutdown_on_exit=False)
    app.get("/")(answer)
    instrument(app, provider)
    FastAPIMetricsInstrumentor().uninstrument()
    app.add_middleware(GZipMiddleware, minimum_size=0)
    answered = TestClient(app).get("/")
    assert (answered.json(), answered.headers["content-encoding"]) == ("ok", "gzip")


def test_a_route_that_matches_by_what_a_middleware_has_put_into_the_scope() -> None:
    """opentelemetry-python-contrib #3671: KeyError where it is matched by anyone else."""

    class Versioned(APIRoute):
        def matches(self, scope: Scope) -> tuple[Match, Scope]:
            return super().matches(scope) if scope["version"] == 2 else (Match.NONE, {})

    class Version:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            scope["version"] = int(dict(scope.get("headers", ())).get(b"x-version", b"1"))
            await self.app(scope, receive, send)

    measured, router = Measured(), APIRouter(route_class=Versioned)
    router.get("/items/{i}")(answer)
    measured.app.include_router(router)
    measured.app.add_middleware(Version)
    measured.app.add_middleware(Denying)
    for headers in ({"x-version": "2"}, {"x-version": "1"}, {"x-deny": "1"}):
        measured.client.get("/items/1", headers=headers)
    assert measured.responses() == {
        ("GET", "/items/{i}", "200"): 1,
        ("GET", "unmatched", "404"): 1,
        # Answered before routing: by the path alone.
        ("GET", "/items/{i}", "401"): 1,
    }


def test_the_garbage_collector_may_run_wherever_metrics_are_collected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """opentelemetry-python #4345: what is measured of it waits for a lock of its own thread."""
    monkeypatch.setattr(garbage, "SHORTEST", 0)
    measured = Measured()
    measured.client.get("/nope")
    before = gc.get_threshold()

    def scrapes() -> None:
        for _ in range(4):
            measured.series()

    thread = threading.Thread(target=scrapes, daemon=True)
    gc.set_threshold(1)
    try:
        thread.start()
        thread.join(60)
    finally:
        gc.set_threshold(*before)
    assert not thread.is_alive()
    assert total(measured.series(), "app_gc_pause_seconds_count") > 100


@pytest.mark.parametrize("sizes", [False, True])
def test_an_endpoint_learns_that_its_client_has_left(sizes: bool) -> None:
    """sglang #20623: not with metrics, and goes on computing for nobody."""

    async def run() -> None:
        measured = Measured(instrument=False)
        measured.instrument(body_sizes=sizes)
        polls: list[bool] = []

        @measured.app.post("/generate")
        async def generate(request: Request) -> None:
            await request.body()
            while len(polls) < 500 and not any(polls):
                polls.append(await request.is_disconnected())
                await asyncio.sleep(0.01)

        await exchange(measured.app, "/generate", method="POST", leave_after=0.5)
        assert polls[-1]
        assert polls.count(False) >= 2

    asyncio.run(run())


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("leave_after", [None, 1])
def test_a_stream_is_in_progress_until_it_ends_or_its_client_leaves(
    inside: bool, leave_after: float | None
) -> None:
    """vllm-mlx #781: only until the response starts. Also through a BaseHTTPMiddleware."""

    async def run() -> list[float]:
        measured, started, over = Measured(), asyncio.Event(), asyncio.Event()

        async def tokens() -> AsyncIterator[bytes]:
            while not over.is_set():
                yield b"token"
                started.set()
                await asyncio.sleep(0.01)

        class Passing(BaseHTTPMiddleware):
            async def dispatch(
                self, request: Request, call_next: RequestResponseEndpoint
            ) -> Response:
                return await call_next(request)

        @measured.app.get("/stream")
        async def stream() -> StreamingResponse:
            return StreamingResponse(tokens())

        if inside:
            measured.app.add_middleware(Passing)
        shown: list[float] = []

        async def look() -> None:
            sent = await exchange(measured.app, "/metrics")
            page = b"".join(message.get("body", b"") for message in sent)
            shown.append(total(parse(page.decode()), "app_requests_in_progress"))

        await look()
        request = asyncio.create_task(exchange(measured.app, "/stream", leave_after=leave_after))
        await asyncio.wait_for(started.wait(), 10)
        await look()
        if leave_after is None:
            over.set()
        await request
        await look()
        return shown

    assert asyncio.run(run()) == [0, 1, 0]


def test_a_mounted_application_streams_from_what_the_lifespan_runs() -> None:
    """As the session manager of modelcontextprotocol's python-sdk is used, whose #737 is about
    streams that stay empty.
    """
    group: TaskGroup | None = None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal group
        async with create_task_group() as group:
            yield

    async def sessions(scope: Scope, receive: Receive, send: Send) -> None:
        assert group is not None
        send_event, events = create_memory_object_stream[bytes]()

        async def work() -> None:
            async with send_event:
                for number in range(3):
                    await send_event.send(f"data: {number}\n\n".encode())

        async with events:
            group.start_soon(work)
            await StreamingResponse(events, media_type="text/event-stream")(scope, receive, send)

    measured = Measured(FastAPI(lifespan=lifespan))
    measured.app.mount("/mcp", sessions)
    with measured.client as client:
        assert client.post("/mcp/").text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert measured.responses() == {("POST", "/mcp/{path}", "200"): 1}


@pytest.mark.parametrize("accepted", [b"gzip", b"identity"])
def test_the_page_is_compressed_once(accepted: bytes) -> None:
    """ots #217: by the page and by a middleware for all pages."""
    measured = Measured()
    measured.app.add_middleware(GZipMiddleware, minimum_size=0)
    measured.client.get("/nope")
    headers = [(b"accept-encoding", accepted)]
    start, *parts = asyncio.run(exchange(measured.app, "/metrics", headers=headers))
    encodings = [value for name, value in start["headers"] if name == b"content-encoding"]
    body = b"".join(part.get("body", b"") for part in parts)
    assert encodings == ([b"gzip"] if accepted == b"gzip" else [])
    text = gzip.decompress(body) if accepted == b"gzip" else body
    assert values(parse(text.decode()), "app_requests_total") == {("GET", "unmatched"): 1}
