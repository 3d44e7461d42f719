"""The metrics on a port of their own, away from the application's."""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from socket import AF_INET, AF_INET6, create_server, has_dualstack_ipv6, socket
from threading import Thread
from typing import Any

from starlette.routing import Route, Router
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from telemetry.logger import limited_logger
from telemetry.sdk.exposition.answer import Answer
from telemetry.sdk.exposition.page import Page

_logger = limited_logger(__name__)

MAX_CONNECTIONS = 32
TIMEOUT = 15.0
"""Seconds that a connection has for its one request and the answer."""

_MAX_REQUEST = 16_384
_POLL_INTERVAL = 0.25


def listen(
    page: Page,
    host: str,
    port: int,
    may: Callable[[], bool] = lambda: True,
    path: str = "/metrics",
) -> int:
    """Serve a page in a thread of its own for as long as `may` is true. Returns the port.

    Whatever clients do, they keep no more than 32 of the process's file descriptors, and none
    for more than 15 s: when there are more connections, the oldest is closed.
    """
    is_v6 = ":" in host
    listening = create_server(
        (host, port),
        family=AF_INET6 if is_v6 else AF_INET,
        dualstack_ipv6=is_v6 and has_dualstack_ipv6(),
    )
    if hasattr(os, "register_at_fork"):
        # A child that lives longer than this process would keep the port.
        os.register_at_fork(after_in_child=listening.close)
    serve = _serve(Route(path, Answer(page), methods=["GET"]), listening, may)
    Thread(target=asyncio.run, args=(serve,), name="metrics server", daemon=True).start()
    return int(listening.getsockname()[1])


async def _serve(route: Route, listening: socket, may: Callable[[], bool]) -> None:
    config = Config(
        Router([route]),
        interface="asgi3",
        lifespan="off",
        ws="none",
        proxy_headers=False,
        # Else it would set up the loggers of the application's own uvicorn.
        log_config=None,
        h11_max_incomplete_event_size=_MAX_REQUEST,
    )
    state = ServerState()
    state.default_headers = [(b"connection", b"close")]
    loop = asyncio.get_running_loop()
    connection = partial(_Connection, config, state, {})
    server = await loop.create_server(connection, sock=listening, backlog=MAX_CONNECTIONS)
    while may():
        await asyncio.sleep(_POLL_INTERVAL)
    server.close()
    # Connections that are open have until their deadline.
    await asyncio.sleep(TIMEOUT)


class _Connection(H11Protocol):
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.access_log = False
        self.logger = _logger
        self.deadline = self.loop.call_later(TIMEOUT, transport.abort)
        connections: Any = self.connections
        if len(connections) > MAX_CONNECTIONS:
            # Rather one that has not sent a whole request yet.
            oldest = min(
                connections, key=lambda each: (each.cycle is not None, each.deadline.when())
            )
            connections.discard(oldest)
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.deadline.cancel()
        super().connection_lost(exc)
