"""How requests end: by failing, by a client that leaves, by being cancelled, by a last byte."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from opentelemetry.sdk.metrics import MeterProvider
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from tests.support.applications import Connection, Measured, endless_events, exchange


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

    # A group of one in older versions of Starlette.
    with pytest.raises((RuntimeError, ExceptionGroup)):
        asyncio.run(exchange(measured.app, "/"))
    assert measured.responses() == {("GET", "/", "200"): 1}
    assert measured.requests() == {("GET", "/"): 1}


def test_an_application_that_never_answers_is_the_servers_500() -> None:
    measured = Measured()

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        return None

    measured.app.mount("/silent", silent)
    asyncio.run(exchange(measured.app, "/silent/x"))
    assert measured.responses() == {("GET", "/silent/{path}", "500"): 1}


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


def test_a_server_that_tells_only_those_who_receive_is_believed() -> None:
    measured = Measured()
    messages: list[Message] = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]

    @measured.app.post("/upload")
    async def upload(request: Request) -> int:
        return len(await request.body())

    async def receive() -> Message:
        return messages.pop(0)

    async def send(_: Message) -> None:
        """There is nobody to send to."""

    async def run() -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/upload",
            "headers": [],
            "query_string": b"",
        }
        with pytest.raises(ClientDisconnect):
            await measured.app(scope, receive, send)

    asyncio.run(run())
    assert measured.requests() == {("POST", "/upload"): 1}
    assert measured.responses() == {}


def test_a_client_that_leaves_after_the_response_has_started_is_in_both() -> None:
    measured = endless_events()
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
    assert measured.seconds("/trailers/{path}") >= 0.1
    assert measured.requests() == {("GET", "/trailers/{path}"): 1, ("GET", "/file"): 1}
