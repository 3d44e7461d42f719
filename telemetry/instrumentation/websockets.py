"""The middleware that counts WebSockets, times them, and tells how they have ended."""

from collections.abc import Callable, Collection, Iterable
from time import perf_counter
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.instrumentation.excluded import url_of
from telemetry.instrumentation.labels import OTHER
from telemetry.instrumentation.requests import COUNTED
from telemetry.instrumentation.routes import UNMATCHED, RouteTemplates, path_below
from telemetry.quiet import quiet_logger

_logger = quiet_logger(__name__)

BUCKETS = (0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""Upper bounds of the duration histogram in seconds."""

# What RFC 6455 and its registry define. Applications have codes of their own from 3000 on, and
# clients send any: https://www.iana.org/assignments/websocket/websocket.xml#close-code-number.
_CODES = range(1000, 1016)
_NORMAL, _NONE, _ABNORMAL, _INTERNAL_ERROR = 1000, 1005, 1006, 1011
_REJECTED, _FAILED = 403, 500


class WebSocketRecorder:
    """Counts WebSockets by route template.

    Parameters:
        provider: Where the instruments are made. In Prometheus, their names become
            ``app_websockets_open``, ``app_websockets_opened_total``,
            ``app_websockets_closed_total`` and ``app_websockets_duration_seconds``.
        prefix: What they begin with in the place of ``app``.
    """

    def __init__(self, provider: MeterProvider, prefix: str) -> None:
        meter = provider.get_meter("telemetry.instrumentation")
        self._open: dict[str, set[object]] = {}
        meter.create_observable_gauge(
            f"{prefix}_websockets_open",
            callbacks=[self._observe_open],
            description="WebSockets that have been accepted and not ended.",
        )
        self._opened = meter.create_counter(
            f"{prefix}_websockets_opened", description="WebSockets that have been accepted."
        )
        self._closed = meter.create_counter(
            f"{prefix}_websockets_closed",
            description="WebSockets that have ended or were refused, by close code or HTTP status.",
        )
        self._duration = meter.create_histogram(
            f"{prefix}_websockets_duration",
            unit="s",
            description="Time from the acceptance of a WebSocket to its end.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )

    def opened(self, connection: object, path: str) -> None:
        """Count a WebSocket that has been accepted."""
        self._open.setdefault(path, set()).add(connection)
        self._opened.add(1, {"path": path})

    def ended(self, connection: object, path: str, code: str, seconds: float | None) -> None:
        """Count a WebSocket that has ended.

        Parameters:
            connection: As given to `opened`, if it was.
            path: The route template.
            code: How it has ended, one of few values.
            seconds: How long it was open; None if it was refused.
        """
        self._closed.add(1, {"path": path, "close_code": code})
        if seconds is not None:
            self._open[path].discard(connection)
            self._duration.record(seconds, {"path": path})

    def _observe_open(self, _: CallbackOptions) -> Iterable[Observation]:
        for path, connections in self._open.copy().items():
            yield Observation(len(connections), {"path": path})


_recorders: WeakKeyDictionary[MeterProvider, dict[str, WebSocketRecorder]] = WeakKeyDictionary()


def websocket_recorder_of(provider: MeterProvider, prefix: str) -> WebSocketRecorder:
    """The recorder of a meter provider and a prefix, made when it is first asked for."""
    recorders = _recorders.setdefault(provider, {})
    if prefix not in recorders:
        recorders[prefix] = WebSocketRecorder(provider, prefix)
    return recorders[prefix]


class WebSocketMetrics:
    """ASGI middleware that records each WebSocket when it is accepted and when it ends.

    It ends with the first of: the application closes it, the client does or is gone, the
    application returns or fails. One that was never accepted was refused.

    Parameters:
        app: The application, with all its other middleware; takes requests and the lifespan, too.
        recorder: Where WebSockets are counted.
        templates: Finds the route template that one is counted under.
        excluded_paths: Templates, or paths where no route matched, that are not counted.
        excluded_urls: Tells of a URL (without its query) whether it is not counted.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        recorder: WebSocketRecorder,
        templates: RouteTemplates,
        excluded_paths: Collection[str] = (),
        excluded_urls: Callable[[str], bool] | None = None,
    ) -> None:
        self.app = app
        self.recorder = recorder
        self.templates = templates
        self.excluded_paths = frozenset(excluded_paths)
        self.excluded_urls = excluded_urls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the connection on, and count it."""
        if scope["type"] != "websocket" or COUNTED in scope:
            await self.app(scope, receive, send)
            return
        scope[COUNTED] = None
        if self.excluded_urls is not None and self.excluded_urls(url_of(scope)):
            await self.app(scope, receive, send)
            return
        connection = scope[COUNTED] = _Connection(self, scope, receive, send)
        try:
            await self.app(scope, connection.receive, connection.send)
        except Exception:
            connection.end(_FAILED, _INTERNAL_ERROR)
            raise
        except BaseException:
            connection.end(_FAILED, _ABNORMAL)
            raise
        else:
            # The server does so for an application that has not: a handshake fails.
            connection.end(_FAILED, _NORMAL)
        finally:
            # As RequestMetrics does it, so that nothing waits for the garbage collector.
            scope[COUNTED] = None
            connection.scope = scope

    def path_of(self, scope: Scope, root_path: str) -> str | None:
        """What a WebSocket is counted under, or None where it is not.

        Parameters:
            scope: Its ASGI scope, after routing.
            root_path: The scope's ``root_path`` before routing.
        """
        path = self.templates.of(scope, root_path)
        if path is UNMATCHED and path_below(root_path, scope["path"]) in self.excluded_paths:
            return None
        return None if path in self.excluded_paths else path


class _Connection:
    """One WebSocket, on its way through the middleware."""

    def __init__(
        self, metrics: WebSocketMetrics, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._metrics = metrics
        self.scope = scope
        self._root_path: str = scope.get("root_path", "")
        self._receive = receive
        self._send = send
        self._path: str | None = None
        self._opened_at: float | None = None
        self._ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            # A client that leaves before the answer was not refused.
            self.end(_ABNORMAL, message.get("code", _NONE))
        return message

    async def send(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            # How a server tells that the client is gone.
            self.end(_ABNORMAL, _ABNORMAL)
            raise
        match message["type"]:
            case "websocket.accept":
                self._open()
            case "websocket.close":
                self.end(_REJECTED, message.get("code", _NORMAL))
            case "websocket.http.response.start":
                self.end(message["status"], _ABNORMAL)

    def end(self, refused: int, closed: int) -> None:
        """End, if not ended yet.

        Parameters:
            refused: The HTTP status of the answer, if it was not accepted.
            closed: The close code, if it was.
        """
        if self._ended:
            return
        self._ended = True
        try:
            self._count_end(refused, closed)
        except Exception:
            _logger.exception("A WebSocket could not be counted")

    def _open(self) -> None:
        try:
            self._path = self._metrics.path_of(self.scope, self._root_path)
            if self._path is not None:
                self._metrics.recorder.opened(self, self._path)
                self._opened_at = perf_counter()
            else:
                self._ended = True
        except Exception:
            _logger.exception("A WebSocket could not be counted")

    def _count_end(self, refused: int, closed: int) -> None:
        recorder = self._metrics.recorder
        if self._opened_at is None:
            path = self._metrics.path_of(self.scope, self._root_path)
            code = str(refused) if 100 <= refused < 600 or refused in _CODES else OTHER
            if path is not None:
                recorder.ended(self, path, code, None)
            return
        code = str(closed) if closed in _CODES else OTHER
        assert self._path is not None
        recorder.ended(self, self._path, code, perf_counter() - self._opened_at)
