"""A metric reader that has its page written from the whole service."""

import os
from functools import cached_property
from threading import Timer
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import Histogram
from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
from opentelemetry.sdk.metrics.view import Aggregation, ExponentialBucketHistogramAggregation

from telemetry.logger import limited_logger
from telemetry.sdk.callbacks import running
from telemetry.sdk.exposition.negotiation import Exposition
from telemetry.sdk.exposition.page import Add, Page
from telemetry.sdk.service import Service
from telemetry.sdk.steps import Steps

if TYPE_CHECKING:
    from telemetry.sdk.exposition.writing import PageWriter

_logger = limited_logger(__name__)

_NATIVE = "TELEMETRY_NATIVE_HISTOGRAMS"
_DELAY = 1.0


class EndpointReader(MetricReader):
    """Shows a meter provider's metrics on the application's port, or on one of its own.

    In declarative configuration it is the pull exporter ``fastapi_prometheus``. Without
    `native_histograms`, the variable ``TELEMETRY_NATIVE_HISTOGRAMS`` decides.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        native_histograms: bool | None = None,
    ) -> None:
        if native_histograms is None:
            native_histograms = os.environ.get(_NATIVE, "").strip().lower() == "true"
        exponential: dict[type, Aggregation] = {Histogram: ExponentialBucketHistogramAggregation()}
        super().__init__(preferred_aggregation=exponential if native_histograms else None)
        self.native_histograms = native_histograms
        self.host = host or "localhost"
        self.port = port
        self.path = "/metrics"
        self.service = Service(self)
        self.shows_registry = True
        self.page = Page(self._write, native_histograms)
        self._listening = False

    @cached_property
    def _writer(self) -> "PageWriter":
        # It imports prometheus_client, for which a process that serves nothing need not wait.
        from telemetry.sdk.exposition.writing import PageWriter

        return PageWriter()

    def serve(self) -> None:
        """Join the service's workers and, where the metrics have a port of their own, serve it.

        It listens after the application has started: a port that was given to both would be taken
        from it. Of several workers one serves the port, and when it has ended another one does.
        """
        # Before the first request, and not at the first scrape.
        _ = self._writer
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

    def _write(self, exposition: Exposition, add: Add) -> Steps[None]:
        reading = yield from self.service.steps()
        yield from self._writer.steps(reading, exposition, self.shows_registry, add)

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
