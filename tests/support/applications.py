"""Applications with metrics of their own, and requests to them without a server."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.sdk.metrics import MeterProvider
from starlette.types import Message, Scope

import telemetry
from tests.support.series import Series, parse, values


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

    def paths(self) -> set[str]:
        """The paths of the requests that were counted."""
        return {path for _, path in self.requests()}


Behaviour = Callable[[Message], Awaitable[None]]


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
    """One request, message by message, as a server would do it.

    After the given messages, `receive` waits until the response is complete or until the
    client leaves, `leave_after` seconds from the start, and then tells of the disconnect.
    """
    sent: list[Message] = []
    queue = list(received)
    over = asyncio.Event()

    async def receive() -> Message:
        if queue and not over.is_set():
            return queue.pop(0)
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if on_send is not None:
            await on_send(message)
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            over.set()

    full: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        **scope,
    }
    if leave_after is not None:
        asyncio.get_running_loop().call_later(leave_after, over.set)
    await app(full, receive, send)
    return sent
