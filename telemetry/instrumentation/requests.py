"""The middleware that counts requests and times them."""

import logging
from collections.abc import Callable, Collection
from time import perf_counter

import anyio
from starlette.datastructures import URL
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.instrumentation.methods import OTHER, known_methods
from telemetry.instrumentation.recorder import RequestRecorder
from telemetry.instrumentation.routes import UNMATCHED, RouteTemplates

_logger = logging.getLogger(__name__)

_COUNTED = "telemetry.counted"
_SOON = 0.01


def is_counted(scope: Scope) -> bool:
    """Whether a `RequestMetrics` further out counts this request already."""
    return _COUNTED in scope


class RequestMetrics:
    """ASGI middleware that records each HTTP request once, when it ends.

    A request ends with the last byte of its response, whatever the application still does
    after it (background tasks). Where there is no last byte, because the application failed
    or the client left, it ends when the application returns. What was sent and what was
    raised passes through unchanged; so do WebSockets and the lifespan.

    Parameters:
        app: The application, with all its other middleware.
        recorder: Where requests are counted.
        templates: Finds the route template that a request is counted under.
        excluded_paths: Templates, or paths where no route matched, that are not counted.
        excluded_urls: Tells of a URL (without its query) whether it is not counted, see
            `telemetry.instrumentation.excluded`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        recorder: RequestRecorder,
        templates: RouteTemplates,
        excluded_paths: Collection[str] = (),
        excluded_urls: Callable[[str], bool] | None = None,
    ) -> None:
        self.app = app
        self.recorder = recorder
        self.templates = templates
        self.excluded_paths = frozenset(excluded_paths)
        self.excluded_urls = excluded_urls
        self.known_methods = known_methods()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it when it has ended."""
        # An instrumented application that is mounted in another one leaves counting to it.
        if scope["type"] != "http" or _COUNTED in scope:
            await self.app(scope, receive, send)
            return
        scope[_COUNTED] = True
        if self.excluded_urls is not None and self.excluded_urls(_url(scope)):
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(self, scope, receive, send)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except Exception:
            exchange.fail()
            raise
        else:
            if not exchange.started:
                exchange.fail()
        finally:
            exchange.end()

    def record(self, scope: Scope, status: int | None, seconds: float) -> None:
        """Count one ended request.

        Parameters:
            scope: Its ASGI scope, after routing.
            status: The status of its response, None where none was started.
            seconds: Its duration.
        """
        path = self.templates.of(scope, status)
        if path in self.excluded_paths:
            return
        if path is UNMATCHED and scope["path"] in self.excluded_paths:
            return
        method = scope["method"]
        if method not in self.known_methods:
            method = OTHER
        self.recorder.record(method, path, status, seconds)


def _url(scope: Scope) -> str:
    return str(URL(scope=scope).replace(query=""))


class _Exchange:
    """One request and its response, on their way through the middleware."""

    __slots__ = (
        "_begin",
        "_ended",
        "_gone",
        "_kept",
        "_metrics",
        "_receive",
        "_scope",
        "_send",
        "_status",
        "_trailers",
        "started",
    )

    def __init__(self, metrics: RequestMetrics, scope: Scope, receive: Receive, send: Send) -> None:
        self._metrics = metrics
        self._scope = scope
        self._receive = receive
        self._send = send
        self._kept: Message | None = None
        self._status: int | None = None
        self._gone = False
        self._trailers = False
        self._ended = False
        self.started = False
        self._begin = perf_counter()

    async def receive(self) -> Message:
        message = self._kept
        if message is None:
            message = await self._receive()
        else:
            self._kept = None
        if message["type"] == "http.disconnect":
            self._gone = True
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self.started = True
            status = message["status"]
            self._trailers = message.get("trailers", False)
            # A client that does not wait even so long cannot be told from one that does.
            if status >= 500 or perf_counter() - self._begin > _SOON:
                await self._look_for_client()
            if not self._gone:
                self._status = status
            await self._send(message)
            return
        await self._send(message)
        if kind == "http.response.body":
            last = not (message.get("more_body", False) or self._trailers)
        elif kind == "http.response.trailers":
            last = not message.get("more_trailers", False)
        else:
            last = kind == "http.response.pathsend"
        if last:
            self.end()

    def fail(self) -> None:
        """The application raised or returned; what it has not started is the server's 500."""
        if not self.started and not self._gone:
            self._status = 500

    def end(self) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            self._metrics.record(self._scope, self._status, perf_counter() - self._begin)
        except Exception:
            _logger.exception("A request could not be counted")

    async def _look_for_client(self) -> None:
        """Note whether the client has left before its response starts.

        Servers do not tell the sender: uvicorn takes a response to nobody as it takes any
        other. They tell the receiver, so one message is taken if one is there, and kept for
        the application, which has a right to it.
        """
        if self._gone or self._kept is not None:
            return
        with anyio.CancelScope() as scope:
            scope.cancel()
            self._kept = await self._receive()
        if self._kept is not None and self._kept["type"] == "http.disconnect":
            self._gone = True
