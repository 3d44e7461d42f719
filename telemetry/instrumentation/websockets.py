"""What is measured of a WebSocket: that it was opened, for how long, and how it has ended."""

from collections.abc import Iterable
from functools import partial
from time import perf_counter

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from starlette.types import Message

from telemetry.instrumentation.exceptions import exceptions_of
from telemetry.instrumentation.labels import OTHER, Pairs
from telemetry.instrumentation.middleware import Measure, Measured
from telemetry.instrumentation.routes import CountedPaths
from telemetry.logger import limited_logger
from telemetry.providers import METER, once_per_provider

_logger = limited_logger(__name__)

BUCKETS = (0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""Upper bounds of the duration histogram in seconds."""

# What RFC 6455 and its registry define. Applications have codes of their own from 3000 on, and
# clients send any: https://www.iana.org/assignments/websocket/websocket.xml#close-code-number.
_CODES = range(1000, 1016)
_NORMAL, _NONE, _ABNORMAL, _INTERNAL_ERROR = 1000, 1005, 1006, 1011
_REJECTED, _FAILED = 403, 500


class WebSocketRecorder:
    """Counts WebSockets by route template."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(METER)
        self.exceptions = exceptions_of(provider)
        self._open: dict[str, set[object]] = {}
        described = "WebSockets that have been accepted and not ended."
        meter.create_observable_gauge("app_websockets_open", [self._observe_open], "", described)
        self._opened = meter.create_counter(
            "app_websockets_opened", description="WebSockets that have been accepted."
        )
        self._closed = meter.create_counter(
            "app_websockets_closed",
            description="WebSockets that have ended or were refused, by close code or HTTP status.",
        )
        self._duration = meter.create_histogram(
            "app_websockets_duration",
            unit="s",
            description="Time from the acceptance of a WebSocket to its end.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )

    def opened(self, connection: object, path: str) -> None:
        """Count a WebSocket that has been accepted."""
        self._open.setdefault(path, set()).add(connection)
        self._opened.add(1, {"path": path})

    def ended(self, connection: object, path: str, code: str, seconds: float | None) -> None:
        """Count a WebSocket that has ended."""
        self._closed.add(1, {"path": path, "close_code": code})
        if seconds is not None:
            self._open[path].discard(connection)
            self._duration.record(seconds, {"path": path})

    def _observe_open(self, _: CallbackOptions) -> Iterable[Observation]:
        for path, connections in self._open.copy().items():
            yield Observation(len(connections), {"path": path})


_recorder_of = once_per_provider(WebSocketRecorder)


def measure_websockets(provider: MeterProvider, paths: CountedPaths) -> Measure:
    """What a `Middleware` measures WebSockets by."""
    return partial(_Connection, _recorder_of(provider), paths, None)


class _Connection(Measured):
    """One WebSocket, measured when it is accepted and when it ends.

    It ends with the first of: the application closes it, the client does or is gone, the
    application returns or fails. One that was never accepted was refused.
    """

    _by: WebSocketRecorder
    _opened_under: str | None = None

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

    def finish(self, error: BaseException | None) -> None:
        """End, if not ended yet. A handshake that is not answered fails."""
        closed = _NORMAL
        if error is not None:
            closed = _INTERNAL_ERROR if isinstance(error, Exception) else _ABNORMAL
        self.end(_FAILED, closed)
        if error is not None:
            self._by.exceptions.count(error, self._labels)

    def end(self, refused: int, closed: int) -> None:
        """End, if not ended yet."""
        if self.ended:
            return
        self.ended = True
        try:
            self._count_end(refused, closed)
        except Exception:
            _logger.exception("A WebSocket could not be counted")

    def _open(self) -> None:
        try:
            path = self._opened_under = self.path()
            if path is not None:
                self._by.opened(self, path)
                self._begin = perf_counter()
            else:
                self.ended = True
        except Exception:
            _logger.exception("A WebSocket could not be counted")

    def _labels(self) -> Pairs | None:
        path = self._opened_under or self.path()
        return None if path is None else (("path", path),)

    def _count_end(self, refused: int, closed: int) -> None:
        if self._opened_under is not None:
            code = str(closed) if closed in _CODES else OTHER
            self._by.ended(self, self._opened_under, code, perf_counter() - self._begin)
        elif (path := self.path()) is not None:
            code = str(refused) if 100 <= refused < 600 or refused in _CODES else OTHER
            self._by.ended(self, path, code, None)
