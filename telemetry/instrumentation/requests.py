"""What is measured of a request: that it was there, how long it took and how it ended."""

from collections.abc import Awaitable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from starlette.requests import HTTPConnection
from starlette.types import Message

from telemetry.compatibility.servers import client_has_left
from telemetry.instrumentation.labels import OTHER, Labels, Pairs, known_methods
from telemetry.instrumentation.middleware import COUNTED, Measured
from telemetry.instrumentation.recorder import RequestRecorder
from telemetry.instrumentation.routes import CountedPaths
from telemetry.logger import limited_logger

_logger = limited_logger(__name__)

_NOTICEABLE = 0.01


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
    exchange = request.scope.get(COUNTED)
    if isinstance(exchange, _Exchange):
        exchange.set_label(name, value)


class RequestMeasure:
    """What all requests of an application are measured by; `begin` is for its `Middleware`."""

    def __init__(
        self,
        recorder: RequestRecorder,
        paths: CountedPaths,
        labels: Labels | None,
        in_progress_by_route: bool,
        sizes: bool,
    ) -> None:
        self.labels = labels
        self.in_progress_by_route = in_progress_by_route
        # Not a method, which would take each request a call more.
        self.begin = partial(
            _SizedExchange if sizes else _Exchange, self, paths, recorder.in_progress
        )
        if sizes:
            recorder.measure_sizes()
        if not in_progress_by_route:
            recorder.show_in_progress(labels.constant if labels else ())
        self.recorder = recorder
        # What counts requests, by the route, the method, the status and further labels: while
        # the routes are the same, one look is enough.
        self.series = paths.by_route
        self.router = paths.router
        self.sized = sizes
        self.in_progress = recorder.in_progress
        self.known_methods = known_methods()


class _Exchange(Measured):
    """One request and its response.

    It ends with the last byte of its response, whatever the application still does after it
    (background tasks). Where there is none, because the application failed or the client left,
    it ends when the application returns.
    """

    _by: RequestMeasure
    # Defaults of the class, because setting each for each request takes time.
    status: int | None = None
    sizes: tuple[int, int] | None = None
    _labels: Mapping[str, str] = {}
    _first_byte: float | None = None
    _started = False
    _gone = False
    _trailers = False

    def set_label(self, name: str, value: str) -> None:
        self._labels = {**self._labels, name: (self._by.labels or _NONE).checked(name, value)}

    def labels(self) -> Pairs:
        return (self._by.labels or _NONE).of(self.scope["headers"], self._labels)

    def labels_in_progress(self) -> Pairs | None:
        measure = self._by
        if not measure.in_progress_by_route:
            return measure.labels.constant if measure.labels else ()
        return self._route_and_labels()

    def _route_and_labels(self, status: int | None = None) -> Pairs | None:
        path = self.path(status)
        if path is None:
            return None
        return (("method", self._method()), ("path", path), *self.labels())

    def _method(self) -> str:
        method: str = self.scope["method"]
        return method if method in self._by.known_methods else OTHER

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone = True
        return message

    # Not a coroutine where nothing is to be done afterwards, as each one takes time.
    def send(self, message: Message) -> Awaitable[None]:
        if not self._started and message["type"] == "http.response.start":
            self._start(message)
            return self._send(message)
        if message.get("more_body"):
            # A stream may send nothing at first, to have its headers sent.
            if self._first_byte is None and (message.get("body") or "file" in message):
                self._first_byte = perf_counter()
            return self._send(message)
        return self._send_last(message)

    async def _send_last(self, message: Message) -> None:
        # Before it is sent: there are servers that wait for a slow client then.
        if self._first_byte is None and self._started:
            self._first_byte = perf_counter()
        await self._send(message)
        if message["type"] == (
            "http.response.trailers" if self._trailers else "http.response.body"
        ):
            if not message.get("more_trailers", False):
                self._end()
        elif message["type"] in ("http.response.pathsend", "http.response.zerocopysend"):
            self._end()

    def finish(self, error: BaseException | None) -> None:
        """End without the last byte: where no response was started, the server answers 500."""
        if not self.ended:
            self._end_without_last_byte(error)
        if error is not None:
            # Also one that was raised after the last byte: where a background task fails, or
            # after the page that tells of a failure.
            labels = partial(self._route_and_labels, self.status)
            self._by.recorder.exceptions.count(error, labels)

    def _end_without_last_byte(self, error: BaseException | None) -> None:
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
        by = self._by
        by.in_progress.discard(self)
        try:
            end = perf_counter()
            begin, first_byte = self._begin, self._first_byte or end
            scope = self.scope
            route = scope.get("route") or scope.get("endpoint")
            labels = self.labels() if by.labels else ()
            series = by.series.get((id(route), scope["method"], self.status, labels))
            if series is None or scope.get("router") is not by.router:
                path = self.path(self.status)
                if path is None:
                    return
                method, sized = self._method(), by.sized
                series = by.recorder.series(method, path, self.status, labels, sized=sized)
                if method == scope["method"] and self._paths.is_settled(scope, route):
                    by.series[id(route), method, self.status, labels] = series
            series.record(end - begin, first_byte - begin, self.sizes)
        except Exception:
            _logger.exception("A request could not be counted")


class _SizedExchange(_Exchange):
    """One whose bodies are measured by what is read and sent: Content-Length only promises it."""

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

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.pathsend":
            with suppress(OSError):
                self._sent += Path(message["path"]).stat().st_size
        elif self.scope["method"] != "HEAD":
            self._sent += len(message.get("body") or b"")
        return super().send(message)


_NONE = Labels({})
