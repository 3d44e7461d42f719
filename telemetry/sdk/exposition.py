"""The text that a scrape gets, written at most once at a time."""

import gzip
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock, Thread

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, gzip_accepted
from prometheus_client.registry import Collector

from telemetry.sdk.turns import Turns, without_garbage_collection

_Encoder = Callable[[Collector], bytes]


@dataclass(frozen=True, slots=True)
class Text:
    """One exposition: its bytes and the headers that describe them."""

    content: bytes
    headers: dict[str, str]


class Exposition:
    """A registry in the Prometheus text format or, where asked, in OpenMetrics.

    The text is written by a thread of its own, so that a long one does not hold up an event
    loop; those who ask while one of the same form is being written get that one.

    Parameters:
        registry: What is shown.

    Attributes:
        reading: Held while the registry is read. OpenTelemetry's reader hands over what it
            has collected through a queue, so it must collect for one at a time.
        turns: Given to the thread beside the event loop that serves the application.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._writing: dict[tuple[str, bool], Future[Text]] = {}
        self._lock = Lock()
        self.reading = Lock()
        self.turns = Turns()

    def write(self, accept: str, accept_encoding: str) -> Future[Text]:
        """The text in the form that two request headers ask for.

        Parameters:
            accept: The value of ``Accept``, see
                https://prometheus.io/docs/instrumenting/content_negotiation/.
            accept_encoding: The value of ``Accept-Encoding``; gzip is used where it is named.
        """
        encoder, content_type = _choose(accept)
        compressed = gzip_accepted(accept_encoding)
        kind = (content_type, compressed)
        with self._lock:
            text = self._writing.get(kind)
            if text is not None:
                return text
            text = self._writing[kind] = Future()

        def run() -> None:
            try:
                result = self._text(encoder, content_type, compressed)
            except BaseException as error:
                self._done(kind)
                text.set_exception(error)
            else:
                self._done(kind)
                text.set_result(result)

        # Not from a pool: a pool's threads are waited for when the process ends, and a
        # callback that hangs would keep it from ending.
        Thread(target=run, name="metrics", daemon=True).start()
        return text

    def _text(self, encoder: _Encoder, content_type: str, compressed: bool) -> Text:
        with self.reading, self.turns.taken(), without_garbage_collection():
            content = encoder(self._registry)
        headers = {"content-type": content_type, "vary": "Accept, Accept-Encoding"}
        if compressed:
            content = gzip.compress(content, compresslevel=6)
            headers["content-encoding"] = "gzip"
        return Text(content, headers)

    def _done(self, kind: tuple[str, bool]) -> None:
        with self._lock:
            del self._writing[kind]


def _choose(accept: str) -> tuple[_Encoder, str]:
    try:
        return choose_encoder(accept)
    except Exception:
        # prometheus_client reads version numbers that a client sends without checking them.
        return generate_latest, CONTENT_TYPE_PLAIN_0_0_4
