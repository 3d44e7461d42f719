"""The middleware that counts requests and times them."""

from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from starlette.requests import HTTPConnection
from starlette.routing import Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.compatibility import client_has_left
from telemetry.instrumentation.excluded import url_of
from telemetry.instrumentation.labels import OTHER, Labels, Pairs
from telemetry.instrumentation.methods import known_methods
from telemetry.instrumentation.recorder import RequestRecorder
from telemetry.instrumentation.routes import UNMATCHED, RouteTemplates, path_below
from telemetry.quiet import quiet_logger

_logger = quiet_logger(__name__)

COUNTED = "telemetry.exchange"
"""The key of a scope that has what measures it, unless nothing does."""

_NOTICEABLE = 0.01


def is_counted(scope: Scope) -> bool:
    """Whether a `RequestMetrics` further out counts this request already."""
    return COUNTED in scope


def set_label(request: HTTPConnection, name: str, value: str) -> None:
    """Set a label that a request is counted by, within its endpoint, a dependency or a middleware.

    Nothing happens where the application is not measured, the request is not counted, or its
    response has been sent already.

    Parameters:
        request: The request.
        name: A label that was declared in ``telemetry.instrument(labels=...)`` as a
            `telemetry.RequestLabel`.
        value: One of its values; anything else becomes ``_OTHER``.

    Raises:
        ValueError: There is no such label.
    """
    exchange: _Exchange | None = request.scope.get(COUNTED)
    if exchange is not None:
        exchange.set_label(name, value)


def remember_routing(router: Router) -> None:
    """Have what routing finds out remembered also where a middleware has copied the scope.

    Parameters:
        router: The application's router, which routes within the scope that it is called with.
    """
    route = router.middleware_stack

    def remembering(scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        exchange = scope.get(COUNTED)
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
        labels: Further labels that requests are counted by.
        in_progress_by_route: Whether requests in progress are, too, and by method and path.
        sizes: Whether the sizes of bodies are measured.
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
        labels: Labels | None = None,
        in_progress_by_route: bool = False,
        sizes: bool = False,
    ) -> None:
        self.app = app
        self.others = others or app
        self.labels = labels
        self.in_progress_by_route = in_progress_by_route
        self._exchange = _SizedExchange if sizes else _Exchange
        if sizes:
            recorder.measure_sizes()
        if not in_progress_by_route:
            recorder.show_in_progress(labels.constant if labels else ())
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
        if COUNTED in scope:
            await self.app(scope, receive, send)
            return
        scope[COUNTED] = None
        if self.excluded_urls is not None and self.excluded_urls(url_of(scope)):
            await self.app(scope, receive, send)
            return
        exchange = scope[COUNTED] = self._exchange(self, scope, receive, send)
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
            scope[COUNTED] = None
            exchange.scope = scope

    def record(self, exchange: "_Exchange", seconds: float) -> None:
        """Count one ended request.

        Parameters:
            exchange: The request, after routing.
            seconds: Its duration.
        """
        status = exchange.status
        counted_by = self.counted_by(exchange, status)
        if counted_by is None:
            return
        labels = exchange.labels() if self.labels else ()
        self.recorder.record(*counted_by, status, seconds, labels, exchange.sizes)

    def counted_by(self, exchange: "_Exchange", status: int | None) -> tuple[str, str] | None:
        """The method and the path that a request is counted by, or None where it is not."""
        scope, root_path = exchange.scope, exchange.root_path
        path = self.templates.of(scope, root_path, status)
        if path in self.excluded_paths:
            return None
        if path is UNMATCHED and path_below(root_path, scope["path"]) in self.excluded_paths:
            return None
        method = scope["method"]
        return method if method in self.known_methods else OTHER, path


class _Exchange:
    """One request and its response, on their way through the middleware."""

    # Defaults of the class, because setting each for each request takes time.
    ended = False
    status: int | None = None
    sizes: tuple[int, int] | None = None
    _labels: Mapping[str, str] = {}
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

    def set_label(self, name: str, value: str) -> None:
        self._labels = {**self._labels, name: (self._metrics.labels or _NONE).checked(name, value)}

    def labels(self) -> Pairs:
        return (self._metrics.labels or _NONE).of(self.scope["headers"], self._labels)

    def labels_in_progress(self) -> Pairs | None:
        metrics = self._metrics
        if not metrics.in_progress_by_route:
            return metrics.labels.constant if metrics.labels else ()
        counted_by = metrics.counted_by(self, None)
        if counted_by is None:
            return None
        method, path = counted_by
        return (("method", method), ("path", path), *self.labels())

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
                self.status = 500
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
            self.status = status

    def _end(self) -> None:
        if self.ended:
            return
        self.ended = True
        self._metrics.in_progress.discard(self)
        try:
            self._metrics.record(self, perf_counter() - self._begin)
        except Exception:
            _logger.exception("A request could not be counted")


class _SizedExchange(_Exchange):
    """One whose bodies' sizes are measured, by what is read and sent of them.

    Content-Length is what the other side promises.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._read = self._sent = 0

    @property
    def sizes(self) -> tuple[int, int]:  # type: ignore[override]
        return self._read, self._sent

    async def receive(self) -> Message:
        message = await super().receive()
        self._read += len(message.get("body") or b"")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.pathsend":
            with suppress(OSError):
                self._sent += Path(message["path"]).stat().st_size
        elif self.scope["method"] != "HEAD":
            self._sent += len(message.get("body") or b"")
        await super().send(message)


_NONE = Labels({})
