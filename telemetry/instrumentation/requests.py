"""The middleware that counts requests and times them."""

from collections.abc import Callable, Collection, Coroutine
from time import perf_counter
from typing import Any

from starlette.datastructures import URL
from starlette.routing import Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.compatibility import client_has_left
from telemetry.instrumentation.methods import OTHER, known_methods
from telemetry.instrumentation.recorder import RequestRecorder
from telemetry.instrumentation.routes import UNMATCHED, RouteTemplates, path_below
from telemetry.quiet import quiet_logger

_logger = quiet_logger(__name__)

_COUNTED = "telemetry.exchange"
_NOTICEABLE = 0.01


def is_counted(scope: Scope) -> bool:
    """Whether a `RequestMetrics` further out counts this request already."""
    return _COUNTED in scope


def remember_routing(router: Router) -> None:
    """Have what routing finds out remembered also where a middleware has copied the scope.

    Parameters:
        router: The application's router, which routes within the scope that it is called with.
    """
    route = router.middleware_stack

    def remembering(scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        exchange = scope.get(_COUNTED)
        if exchange is not None:
            exchange.scope = scope
        return route(scope, receive, send)

    router.middleware_stack = remembering


class RequestMetrics:
    """ASGI middleware that records each HTTP request once, when it ends.

    A request ends with the last byte of its response, whatever the application still does
    after it (background tasks). Where there is no last byte, because the application failed
    or the client left, it ends when the application returns. What was sent and what was
    raised passes through unchanged; so do WebSockets and the lifespan.

    Parameters:
        app: The application, with all its other middleware.
        others: What takes the lifespan and WebSockets, by default the application as well.
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
        others: ASGIApp | None = None,
        recorder: RequestRecorder,
        templates: RouteTemplates,
        excluded_paths: Collection[str] = (),
        excluded_urls: Callable[[str], bool] | None = None,
    ) -> None:
        self.app = app
        self.others = others or app
        self.recorder = recorder
        self.in_progress = recorder.in_progress
        self.templates = templates
        self.excluded_paths = frozenset(excluded_paths)
        self.excluded_urls = excluded_urls
        self.known_methods = known_methods()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it when it has ended."""
        if scope["type"] != "http":
            await self.others(scope, receive, send)
            return
        # An instrumented application that is mounted in another one leaves counting to it.
        if _COUNTED in scope:
            await self.app(scope, receive, send)
            return
        scope[_COUNTED] = None
        if self.excluded_urls is not None and self.excluded_urls(_url(scope)):
            await self.app(scope, receive, send)
            return
        exchange = scope[_COUNTED] = _Exchange(self, scope, receive, send)
        # The route is not known yet. What is excluded by its template only is in progress.
        path = scope["path"]
        if exchange.root_path:
            path = path_below(exchange.root_path, path)
        if path not in self.excluded_paths:
            self.in_progress.add(exchange)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            exchange.end_early(error)
            raise
        else:
            if not exchange.ended:
                exchange.end_early(None)
        finally:
            # The exchange has the scope, and the server's functions, which have the scope as well:
            # together they would wait for the garbage collector.
            scope[_COUNTED] = None
            exchange.scope = scope

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

    # Defaults of the class, because setting each for each request takes time.
    ended = False
    _status: int | None = None
    _started = False
    _gone = False
    _trailers = False

    def __init__(self, metrics: RequestMetrics, scope: Scope, receive: Receive, send: Send) -> None:
        self._metrics = metrics
        self.scope = scope
        self.root_path: str = scope.get("root_path", "")
        self._receive = receive
        self._send = send
        self._begin = perf_counter()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone = True
        return message

    async def send(self, message: Message) -> None:
        if not self._started and message["type"] == "http.response.start":
            self._start(message)
            await self._send(message)
            return
        await self._send(message)
        if message.get("more_body"):
            return
        if message["type"] == (
            "http.response.trailers" if self._trailers else "http.response.body"
        ):
            if not message.get("more_trailers", False):
                self._end()
        elif message["type"] == "http.response.pathsend":
            self._end()

    def end_early(self, error: BaseException | None) -> None:
        """End without the last byte, if not ended yet.

        Where the application has not started a response the server answers 500, also to a
        task that was cancelled, unless the client has left.

        Parameters:
            error: What the application has raised.
        """
        if not self._started and not self._gone:
            left = client_has_left(self._receive)
            # A server that does not tell may have cancelled the task because the client left.
            cancelled = error is not None and not isinstance(error, Exception)
            if left is False or (left is None and not cancelled):
                self._status = 500
        self._end()

    def _start(self, message: Message) -> None:
        self._started = True
        if "trailers" in message:
            self._trailers = message["trailers"]
        if self._gone:
            return
        status = message["status"]
        # A client that does not wait even so long cannot be told from one that does.
        late = status >= 500 or perf_counter() - self._begin > _NOTICEABLE
        if late and client_has_left(self._receive):
            self._gone = True
        else:
            self._status = status

    def _end(self) -> None:
        if self.ended:
            return
        self.ended = True
        self._metrics.in_progress.discard(self)
        try:
            seconds = perf_counter() - self._begin
            self._metrics.record(self.scope, self.root_path, self._status, seconds)
        except Exception:
            _logger.exception("A request could not be counted")
