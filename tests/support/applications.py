"""Applications with metrics of their own, and requests to them without a server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from opentelemetry.sdk.metrics import MeterProvider
from starlette.types import Message, Scope

import telemetry
from tests.support.series import Series, parse, total, values


class Measured:
    """An application, instrumented with a meter provider that nothing else uses."""

    def __init__(self, app: FastAPI | None = None, *, instrument: bool = True) -> None:
        self.app = app or FastAPI()
        self.provider = MeterProvider(shutdown_on_exit=False)
        self.client = TestClient(self.app, raise_server_exceptions=False)
        if instrument:
            self.instrument()

    def instrument(self, **options: Any) -> None:
        telemetry.instrument(self.app, meter_provider=self.provider, **options)

    def series(self, path: str = "/metrics") -> Series:
        answer = self.client.get(path)
        assert answer.status_code == 200
        return parse(answer.text)

    def requests(self) -> dict[tuple[str, ...], float]:
        """``app_requests_total`` by method and path."""
        return values(self.series(), "app_requests_total")

    def responses(self) -> dict[tuple[str, ...], float]:
        """``app_responses_total`` by method, path and status code."""
        return values(self.series(), "app_responses_total")

    def seconds(self, path: str) -> float:
        """The summed duration of the requests to one path."""
        return total(self.series(), "app_requests_processing_time_seconds_sum", path=path)

    def paths(self) -> set[str]:
        """The paths of the requests that were counted."""
        return {path for _, path in self.requests()}


def endless_events() -> Measured:
    """An application whose ``/events`` is a stream without an end."""
    measured = Measured()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"event"
            await asyncio.sleep(0.01)

    @measured.app.get("/events")
    async def events() -> StreamingResponse:
        return StreamingResponse(endless())

    return measured


Behaviour = Callable[[Message], Awaitable[None]]


class Connection:
    """A client's side of one request, as uvicorn presents it to an application.

    After the given messages, `receive` waits until the response is complete or the client
    has left, and then tells of the disconnect.
    """

    def __init__(self, received: Iterable[Message], on_send: Behaviour | None) -> None:
        self.disconnected = False
        self.sent: list[Message] = []
        self.taken = 0
        self.scope: Scope = {}
        self._queue = list(received)
        self._on_send = on_send
        self._over = asyncio.Event()

    async def receive(self) -> Message:
        self.taken += 1
        if self._queue and not self._over.is_set():
            return self._queue.pop(0)
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._on_send is not None:
            await self._on_send(message)
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._over.set()

    def leave(self) -> None:
        self.disconnected = True
        self._over.set()


async def exchange(
    app: Any,
    path: str,
    *,
    method: str = "GET",
    headers: Iterable[tuple[bytes, bytes]] = (),
    received: Iterable[Message] = ({"type": "http.request", "body": b"", "more_body": False},),
    on_send: Behaviour | None = None,
    leave_after: float | None = None,
    **scope: Any,
) -> list[Message]:
    """One request, message by message; the client leaves after so many seconds, if any."""
    connection = Connection(received, on_send)
    full: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        **scope,
    }
    # As uvicorn's own object for a request does.
    connection.scope = full
    if leave_after is not None:
        asyncio.get_running_loop().call_later(leave_after, connection.leave)
    await app(full, connection.receive, connection.send)
    return connection.sent
