"""The middleware that counts requests and times them."""

from collections.abc import Callable, Collection
from time import perf_counter

from starlette.datastructures import URL
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.instrumentation.client import client_has_left
from telemetry.instrumentation.methods import OTHER, known_methods
from telemetry.instrumentation.recorder import RequestRecorder
from telemetry.instrumentation.routes import UNMATCHED, RouteTemplates, path_below
from telemetry.quiet import quiet_logger

_logger = quiet_logger(__name__)

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
        except BaseException:
            exchange.fail(cancelled=True)
            raise
        else:
            exchange.fail()
        finally:
            exchange.end()

    def record(self, scope: Scope, root_path: str, status: int | None, seconds: float) -> None:
        """Count one ended request.

        Parameters:
            scope: Its ASGI scope, after routing.
            root_path: The scope's ``root_path`` before routing.
            status: The status of its response, None where none was started.
            seconds: Its duration.
        """
        path = self.templates.of(scope, root_path, status)
        if path in self.excluded_paths:
            return
        if path is UNMATCHED and path_below(root_path, scope["path"]) in self.excluded_paths:
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
        "_metrics",
        "_receive",
        "_root_path",
        "_scope",
        "_send",
        "_started",
        "_status",
        "_trailers",
    )

    def __init__(self, metrics: RequestMetrics, scope: Scope, receive: Receive, send: Send) -> None:
        self._metrics = metrics
        self._scope = scope
        self._root_path: str = scope.get("root_path", "")
        self._receive = receive
        self._send = send
        self._status: int | None = None
        self._started = False
        self._gone = False
        self._trailers = False
        self._ended = False
        self._begin = perf_counter()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone = True
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._start(message)
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

    def _start(self, message: Message) -> None:
        self._started = True
        self._trailers = message.get("trailers", False)
        status = message["status"]
        if self._gone:
            return
        # A client that does not wait even so long cannot be told from one that does.
        late = status >= 500 or perf_counter() - self._begin > _SOON
        if late and client_has_left(self._receive):
            self._gone = True
            return
        self._status = status

    def fail(self, *, cancelled: bool = False) -> None:
        """The application has ended; where it has not started a response, the server does.

        It answers 500, to a task that was cancelled as well, unless the client has left.
        """
        if self._started or self._gone:
            return
        left = client_has_left(self._receive)
        # A server that does not tell may have cancelled the task because the client left.
        if left is False or (left is None and not cancelled):
            self._status = 500

    def end(self) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            seconds = perf_counter() - self._begin
            self._metrics.record(self._scope, self._root_path, self._status, seconds)
        except Exception:
            _logger.exception("A request could not be counted")
