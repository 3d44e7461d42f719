"""/metrics as an ASGI application."""

import asyncio
import gzip
import logging
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, gzip_accepted
from prometheus_client.registry import Collector
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_logger = logging.getLogger(__name__)

_Encoder = Callable[[Collector], bytes]


class MetricsEndpoint:
    """Serves a registry in the Prometheus text format or, where asked, in OpenMetrics.

    The format is chosen by ``Accept`` and compression by ``Accept-Encoding``, as
    https://prometheus.io/docs/instrumenting/content_negotiation/ has it. The text is written
    by a thread of its own, so that a long one does not hold up other requests, and scrapes
    that overlap share one writing.

    Parameters:
        registry: What is shown.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._writing: dict[tuple[str, bool], Future[bytes]] = {}
        self._lock = Lock()
        self._registry_lock = Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a scrape."""
        headers = Headers(scope=scope)
        encoder, content_type = _choose(",".join(headers.getlist("accept")))
        compressed = gzip_accepted(",".join(headers.getlist("accept-encoding")))
        text = self._write(encoder, content_type, compressed)
        response = Response(
            await asyncio.shield(asyncio.wrap_future(text)),
            headers={"content-type": content_type, "vary": "Accept, Accept-Encoding"},
        )
        if compressed:
            response.headers["content-encoding"] = "gzip"
        await response(scope, receive, send)

    def _write(self, encoder: _Encoder, content_type: str, compressed: bool) -> Future[bytes]:
        """The text that is being written already or, where none is, a new one."""
        kind = (content_type, compressed)
        with self._lock:
            text = self._writing.get(kind)
            if text is not None:
                return text
            text = self._writing[kind] = Future()

        def write() -> None:
            try:
                # The reader hands over what it has collected through a queue, so one at a time.
                with self._registry_lock:
                    content = encoder(self._registry)
                result = gzip.compress(content, compresslevel=6) if compressed else content
            except BaseException as error:
                with self._lock:
                    del self._writing[kind]
                text.set_exception(error)
            else:
                with self._lock:
                    del self._writing[kind]
                text.set_result(result)

        # Not from a pool: a pool's threads are waited for when the process ends, and a
        # callback that hangs would keep it from ending.
        Thread(target=write, name="metrics", daemon=True).start()
        return text


def _choose(accept: str) -> tuple[_Encoder, str]:
    try:
        return choose_encoder(accept)
    except Exception:
        # prometheus_client reads version numbers that a client sends without checking them.
        return generate_latest, CONTENT_TYPE_PLAIN_0_0_4
