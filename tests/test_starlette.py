"""Starlette applications, without FastAPI."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import Depends
from opentelemetry.sdk.metrics import MeterProvider
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

import telemetry
from tests.support.applications import exchange
from tests.support.series import parse, values


async def plain(request: Request) -> Response:
    return PlainTextResponse("plain")


async def fails(request: Request) -> Response:
    raise RuntimeError("not handled")


async def refuses(request: Request) -> Response:
    raise HTTPException(409)


def in_a_thread(request: Request) -> Response:
    telemetry.set_label(request, "plan", request.path_params["plan"])
    return PlainTextResponse("from a thread")


class Item(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return PlainTextResponse("item")


async def chat(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close(1001)


def application(folder: Path | None = None) -> Starlette:
    inner = Starlette(routes=[Route("/leaf/{name}", plain), Mount("/deep", routes=[])])
    routes = [
        Route("/plain", plain),
        Route("/fails", fails),
        Route("/refuses", refuses, methods=["POST"]),
        Route("/plans/{plan}", in_a_thread),
        Route("/items/{item:int}", Item),
        WebSocketRoute("/chat/{room}", chat),
        Mount("/inner", inner),
        Mount("/router", Router([Route("/{name}", plain)])),
        Host("api.example.org", Router([Route("/hosted/{name}", plain)])),
    ]
    if folder is not None:
        routes.append(Mount("/static", StaticFiles(directory=folder)))
    return Starlette(routes=routes, middleware=[Middleware(GZipMiddleware)])


def instrumented(app: Starlette, **options: object) -> TestClient:
    provider = MeterProvider(shutdown_on_exit=False)
    telemetry.instrument(app, meter_provider=provider, **options)  # type: ignore[arg-type]
    return TestClient(app, raise_server_exceptions=False)


def test_requests_are_counted_by_the_templates_of_their_routes(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("content")
    client = instrumented(application(tmp_path))
    for method, path in (
        ("GET", "/plain"),
        ("HEAD", "/plain"),
        ("GET", "/fails"),
        ("POST", "/refuses"),
        ("GET", "/refuses"),
        ("GET", "/items/7"),
        ("DELETE", "/items/7"),
        ("GET", "/inner/leaf/x"),
        ("GET", "/inner/nothing"),
        ("GET", "/router/x"),
        ("GET", "/static/file.txt"),
        ("GET", "/nothing"),
    ):
        client.request(method, path)
    client.get("/hosted/x", headers={"host": "api.example.org"})
    shown = parse(client.get("/metrics").text)
    assert values(shown, "app_responses_total") == {
        ("GET", "/plain", "200"): 1,
        ("HEAD", "/plain", "200"): 1,
        ("GET", "/fails", "500"): 1,
        ("POST", "/refuses", "409"): 1,
        ("GET", "/refuses", "405"): 1,
        ("GET", "/items/{item:int}", "200"): 1,
        ("DELETE", "/items/{item:int}", "405"): 1,
        ("GET", "/inner/leaf/{name}", "200"): 1,
        ("GET", "/router/{name}", "200"): 1,
        ("GET", "/static/{path}", "200"): 1,
        ("GET", "unmatched", "404"): 2,
        ("GET", "/hosted/{name}", "200"): 1,
    }


def test_web_sockets() -> None:
    client = instrumented(application())
    with client.websocket_connect("/chat/x"):
        pass
    shown = parse(client.get("/metrics").text)
    assert values(shown, "app_websockets_closed_total") == {("1001", "/chat/{room}"): 1}


def test_labels_of_its_own_from_a_thread() -> None:
    client = instrumented(application(), labels={"plan": telemetry.RequestLabel(["free", "paid"])})
    client.get("/plans/paid")
    client.get("/plans/golden")
    shown = parse(client.get("/metrics").text)
    assert values(shown, "app_requests_total") == {
        ("GET", "/plans/{plan}", "paid"): 1,
        ("GET", "/plans/{plan}", "_OTHER"): 1,
    }


def test_in_a_lifespan_and_with_routes_that_come_later() -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.router.routes.append(Route("/late/{x}", plain))
        yield

    app = Starlette(lifespan=lifespan)
    with instrumented(app) as client:
        client.get("/late/1")
        shown = parse(client.get("/metrics").text)
    assert values(shown, "app_requests_total") == {("GET", "/late/{x}"): 1}


def test_dependencies_are_fastapis() -> None:
    with pytest.raises(TypeError, match="metrics_dependencies needs a FastAPI application"):
        instrumented(Starlette(), metrics_dependencies=[Depends(plain)])


def test_a_path_of_its_own_and_a_route_that_stays(caplog: pytest.LogCaptureFixture) -> None:
    app = Starlette(routes=[Route("/metrics", plain)])
    client = instrumented(app, metrics_path="/internal/metrics")
    assert client.get("/metrics").text == "plain"
    assert "app_memory_usage_bytes" in client.get("/internal/metrics").text
    client = instrumented(Starlette(routes=[Route("/metrics", plain)]))
    assert client.get("/metrics").text == "plain"
    assert "route /metrics of its own" in caplog.text


def test_what_is_no_application_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a FastAPI or Starlette application"):
        telemetry.instrument(Router())  # type: ignore[arg-type]


def test_a_client_that_leaves() -> None:
    app = application()

    async def waits(request: Request) -> Response:
        await asyncio.sleep(1)
        return PlainTextResponse("late")

    app.router.routes.insert(0, Route("/waits", waits))
    client = instrumented(app)
    asyncio.run(exchange(app, "/waits", leave_after=0.05))
    shown = parse(client.get("/metrics").text)
    assert values(shown, "app_requests_total") == {("GET", "/waits"): 1}
    assert values(shown, "app_responses_total") == {}
