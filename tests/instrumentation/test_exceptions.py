"""Exceptions that an application has not handled are counted by type, with method and path."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import Response
from starlette.types import Message

import telemetry
from tests.support.applications import Measured, exchange
from tests.support.series import label_names, total, values
from tests.support.versions import needs

Counted = dict[tuple[str, ...], float]


def exceptions(measured: Measured) -> Counted:
    """``app_exceptions_total`` by type, method and path."""
    return values(measured.series(), "app_exceptions_total")


def raising(make: Callable[[], Exception], measured: Measured | None = None) -> Measured:
    """An application that raises a new exception each time: one that is kept has its frames."""
    measured = measured or Measured()

    @measured.app.get("/items/{item_id}")
    async def fails(item_id: int) -> None:
        raise make()

    return measured


class _Outer:
    class Error(Exception):
        """One that is defined within a class."""


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (KeyError, "KeyError"),
        (_Outer.Error, f"{__name__}._Outer.Error"),
        (lambda: ExceptionGroup("one", [ExceptionGroup("inner", [KeyError()])]), "KeyError"),
        (lambda: ExceptionGroup("two", [KeyError(), ValueError()]), "ExceptionGroup"),
    ],
)
def test_by_the_qualified_name_of_the_class(make: Callable[[], Exception], name: str) -> None:
    measured = raising(make)
    for number in range(3):
        assert measured.client.get(f"/items/{number}").status_code == 500
    assert exceptions(measured) == {(name, "GET", "/items/{item_id}"): 3}
    assert label_names(measured.series(), "app_exceptions_total") == {
        ("error_type", "method", "path")
    }


def test_what_was_handled_is_not_counted() -> None:
    measured = raising(KeyError)

    @measured.app.exception_handler(KeyError)
    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=410)

    @measured.app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418)

    @measured.app.get("/caught")
    async def caught() -> None:
        raise ValueError

    @measured.app.middleware("http")
    async def answers(request: Request, call_next: Any) -> Response:
        try:
            response: Response = await call_next(request)
        except ValueError:
            return Response(status_code=503)
        return response

    statuses = [
        measured.client.get(path).status_code
        for path in ("/items/1", "/items/none", "/teapot", "/caught", "/nowhere")
    ]
    assert statuses == [410, 422, 418, 503, 404]
    assert exceptions(measured) == {}
    # Of what has never happened, there is no series.
    assert "app_exceptions" not in measured.client.get("/metrics").text


def test_a_page_for_any_error_does_not_make_it_handled() -> None:
    """Starlette sends the page, and then has the server log the exception."""
    measured = raising(KeyError)

    @measured.app.exception_handler(Exception)
    async def page(request: Request, error: Exception) -> Response:
        return Response(status_code=500)

    measured.client.get("/items/1")
    assert exceptions(measured) == {("KeyError", "GET", "/items/{item_id}"): 1}


def test_an_http_exception_in_a_middleware_is_one_that_nothing_handles() -> None:
    measured = Measured()

    @measured.app.middleware("http")
    async def refuses(request: Request, call_next: Any) -> None:
        raise HTTPException(401)

    assert measured.client.get("/").status_code == 500
    # The middleware refuses /metrics as well.
    measured.app.user_middleware.clear()
    measured.app.middleware_stack = measured.app.build_middleware_stack()
    assert exceptions(measured) == {("fastapi.exceptions.HTTPException", "GET", "unmatched"): 1}


async def _passes(request: Request, call_next: Any) -> Any:
    return await call_next(request)


# Before, it swallowed what a background task raised.
_TELLS = needs("starlette", "0.46")


@pytest.mark.parametrize("behind", [0, *(pytest.param(n, marks=_TELLS) for n in (1, 2))])
def test_after_the_response_has_started_too_and_once(behind: int) -> None:
    """In a stream, in a background task, and behind any number of Starlette's middleware."""
    app = FastAPI()
    for _ in range(behind):
        app.add_middleware(BaseHTTPMiddleware, dispatch=_passes)
    measured = raising(KeyError, Measured(app))

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            raise TimeoutError

        return StreamingResponse(chunks())

    def fail() -> None:
        raise OSError

    @app.get("/task")
    async def task(tasks: BackgroundTasks) -> str:
        tasks.add_task(fail)
        return "done"

    for path in ("/stream", "/task", "/items/1"):
        with pytest.raises((KeyError, TimeoutError, OSError, ExceptionGroup)):
            asyncio.run(exchange(app, path))
    assert exceptions(measured) == {
        ("TimeoutError", "GET", "/stream"): 1,
        ("OSError", "GET", "/task"): 1,
        ("KeyError", "GET", "/items/{item_id}"): 1,
    }
    assert measured.responses().keys() == {
        ("GET", "/stream", "200"),
        ("GET", "/task", "200"),
        ("GET", "/items/{item_id}", "500"),
    }


def test_a_request_that_is_cancelled_is_no_exception_of_the_application() -> None:
    measured = Measured()

    @measured.app.get("/")
    async def root() -> None:
        await asyncio.sleep(60)

    async def run() -> None:
        task = asyncio.create_task(exchange(measured.app, "/"))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(run())
    assert sum(measured.requests().values()) == 1
    assert exceptions(measured) == {}


def test_a_client_that_leaves_is_no_exception_of_the_application() -> None:
    measured = Measured()

    @measured.app.post("/upload")
    async def upload(request: Request) -> int:
        return len(await request.body())

    @measured.app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.receive_text()

    part: Message = {"type": "http.request", "body": b"part", "more_body": True}
    leaves = exchange(measured.app, "/upload", method="POST", received=[part], leave_after=0.05)
    with pytest.raises(Exception, match=r"^$"):
        asyncio.run(leaves)
    with pytest.raises(Exception, match="1001"), measured.client.websocket_connect("/socket") as ws:
        ws.close(1001)
    assert sum(measured.requests().values()) == 1
    assert exceptions(measured) == {}


def test_a_websockets_have_a_path_and_no_method() -> None:
    measured = Measured()

    @measured.app.websocket("/socket/{name}")
    async def socket(websocket: WebSocket, name: str) -> None:
        if name == "open":
            await websocket.accept()
        raise KeyError

    for name in ("open", "refused"):
        with (
            pytest.raises(KeyError),
            measured.client.websocket_connect(f"/socket/{name}") as connection,
        ):
            connection.receive_text()
    assert exceptions(measured) == {("KeyError", "/socket/{name}"): 2}


def test_with_the_labels_that_are_declared_and_not_where_it_is_excluded() -> None:
    measured = Measured(instrument=False)
    measured.instrument(
        labels={"zone": "a", "tier": telemetry.RequestLabel(["free"], header="x-tier")},
        excluded_paths=["/items/{item_id}"],
    )
    raising(KeyError, measured)

    @measured.app.get("/counted")
    async def counted() -> None:
        raise ValueError

    measured.client.get("/items/1")
    measured.client.get("/counted", headers={"x-tier": "free"})
    labels = {"zone": "a", "tier": "free", "error_type": "ValueError", "path": "/counted"}
    series = measured.series()
    assert total(series, "app_exceptions_total") == 1
    assert total(series, "app_exceptions_total", **labels) == 1


def test_of_a_mounted_application_by_the_outermost_one() -> None:
    measured, below = Measured(), Measured()
    raising(KeyError, below)
    measured.app.mount("/below", below.app)
    measured.client.get("/below/items/1")
    assert exceptions(measured) == {("KeyError", "GET", "/below/items/{item_id}"): 1}
    assert exceptions(below) == {}


# Hostile


def _made_anew() -> Iterator[Exception]:
    """Thousands of classes of one name, and thousands of names."""
    for number in range(3000):
        yield type("Error", (Exception,), {"__module__": "same"})()
        yield type(f"Error{number}", (Exception,), {"__module__": "other"})()


def test_classes_that_are_made_at_run_time_make_a_hundred_series() -> None:
    measured = Measured()
    errors = _made_anew()

    @measured.app.get("/")
    async def root() -> None:
        raise next(errors)

    async def run() -> None:
        for _ in range(6000):
            with pytest.raises(Exception, match=r"^$"):
                await exchange(measured.app, "/")

    asyncio.run(run())
    found = exceptions(measured)
    assert len(found) == 101
    assert found["same.Error", "GET", "/"] == 3000
    assert found["other.Error98", "GET", "/"] == 1
    assert found["_OTHER", "GET", "/"] == 3000 - 99


class _Unnamed(type):
    """A metaclass whose classes do not tell their name."""

    def __getattribute__(cls, name: str) -> Any:
        if name == "__qualname__":
            raise RuntimeError(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    "kind",
    [
        type("", (Exception,), {"__module__": ""}),
        *(
            type(name, (Exception,), {"__module__": module})
            for name in ("with space", 'quo"te', "line\nfeed", "x" * 100_000)
            for module in ("module", None)
        ),
        type("Error", (Exception,), {"__module__": "\ud800"}),
        _Unnamed("Error", (Exception,), {}),
    ],
    ids=range(11),
)
def test_a_strange_name_is_another_one(kind: type[Exception]) -> None:
    measured = raising(lambda: kind("secret"))
    measured.client.get("/items/1")
    ((name, *_),) = exceptions(measured)
    assert name == "_OTHER"


def test_the_text_of_an_exception_is_never_shown() -> None:
    class ToldError(Exception):
        def __str__(self) -> str:
            return "hunter2"

        __repr__ = __str__

    measured = raising(lambda: ToldError("hunter2"))
    measured.client.get("/items/1?password=hunter2")
    page = measured.client.get("/metrics").text
    assert re.search(r'app_exceptions_total\{error_type="[\w.<>]+ToldError",method="GET"', page)
    assert "hunter2" not in page


def test_an_exception_that_cannot_be_counted_is_raised_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    measured = Measured(instrument=False)
    measured.instrument(labels={"tier": telemetry.RequestLabel(["free"], header="x-tier")})

    @measured.app.get("/")
    async def root(request: Request) -> None:
        request.scope["headers"] = None
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(exchange(measured.app, "/"))
    assert "An exception of the application could not be counted" in caplog.text
