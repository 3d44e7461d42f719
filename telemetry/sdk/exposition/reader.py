"""A metric reader that has its page written from the whole service."""

import os
from functools import partial
from threading import Timer
from typing import Any

from opentelemetry.sdk.metrics.export import MetricReader, MetricsData

from telemetry.logger import limited_logger
from telemetry.sdk.callbacks import running
from telemetry.sdk.exposition.page import Add, Page
from telemetry.sdk.exposition.registry import has_collectors, registry_text
from telemetry.sdk.exposition.text import TextWriter
from telemetry.sdk.service import Service
from telemetry.sdk.steps import Steps

_logger = limited_logger(__name__)

_CREATED = "PROMETHEUS_DISABLE_CREATED_SERIES"
_DELAY = 1.0


class EndpointReader(MetricReader):
    """Shows a meter provider's metrics on the application's port, or on one of its own.

    In declarative configuration it is the pull exporter ``fastapi_prometheus``.
    """

    def __init__(self, host: str | None = None, port: int | None = None) -> None:
        super().__init__()
        self.host = host or "localhost"
        self.port = port
        self.path = "/metrics"
        self.service = Service(self)
        self.shows_registry = True
        self.page = Page(self._write)
        self._listening = False
        # prometheus_client's own variable: without these lines the page has fewer series.
        created = os.environ.get(_CREATED, "").strip().lower() not in ("true", "1", "t")
        self._writers = {True: TextWriter(True, created), False: TextWriter(False)}

    def serve(self) -> None:
        """Join the service's workers and, where the metrics have a port of their own, serve it.

        It listens after the application has started: a port that was given to both would be taken
        from it. Of several workers one serves the port, and when it has ended another one does.
        """
        joined = self.service.join()
        if self.port is None:
            return
        if joined:
            self.service.when_leading(self._listen)
        else:
            timer = Timer(_DELAY, self._listen)
            timer.daemon = True
            timer.start()

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Do nothing, as nothing waits to be sent."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Do nothing: what was measured last stays to be seen."""

    def _receive_metrics(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002
        **_: Any,
    ) -> None:
        self.service.receive(metrics_data)

    def _write(self, openmetrics: bool, add: Add) -> Steps[None]:
        reading = yield from self.service.steps()
        registry = partial(registry_text, openmetrics, reading.several)
        further = registry if self.shows_registry else lambda _: b""
        slices = self._writers[openmetrics].slices
        for parts in slices(reading.snapshot, reading.resource.attributes, further):
            if parts is None:
                yield self.shows_registry and has_collectors()
            else:
                add(parts)
                yield False

    def _may_listen(self) -> bool:
        """False where a callback hangs and another worker leads, which takes the port over."""
        self._listening = not running() or self.service.leads
        return self._listening

    def _listen(self) -> None:
        """Listen on the port of its own.

        Where it is taken, they are not shown elsewhere: they should not be on the public port.
        """
        if self.port is None or self._listening:
            return
        # Most have no port of their own, and need not wait for this import.
        from telemetry.sdk.exposition.own_port import listen

        self._listening = True
        try:
            listen(self.page, self.host, self.port, self._may_listen, self.path)
        except (OSError, OverflowError) as error:
            self._listening = False
            _logger.error(
                "The metrics are not served: cannot listen on %s port %s (%s). Choose another "
                "with OTEL_EXPORTER_PROMETHEUS_HOST and OTEL_EXPORTER_PROMETHEUS_PORT.",
                self.host,
                self.port,
                getattr(error, "strerror", None) or error,
            )
