"""A metric reader that has its page written from the whole service."""

import os
from collections.abc import Callable
from functools import partial
from threading import Timer
from typing import Any

from opentelemetry.sdk.metrics import Histogram
from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
from opentelemetry.sdk.metrics.view import Aggregation, ExponentialBucketHistogramAggregation
from prometheus_client import generate_latest

from telemetry.logger import limited_logger
from telemetry.sdk.callbacks import running
from telemetry.sdk.exposition.classic import ClassicBuckets
from telemetry.sdk.exposition.native import NativeWriter
from telemetry.sdk.exposition.negotiation import Exposition
from telemetry.sdk.exposition.page import Add, Page
from telemetry.sdk.exposition.registry import has_collectors, openmetrics_text, registry_text
from telemetry.sdk.exposition.registry_protobuf import protobuf_family
from telemetry.sdk.exposition.text import TextWriter
from telemetry.sdk.service import Service
from telemetry.sdk.steps import Steps

_logger = limited_logger(__name__)

_CREATED = "PROMETHEUS_DISABLE_CREATED_SERIES"
_NATIVE = "TELEMETRY_NATIVE_HISTOGRAMS"
_DELAY = 1.0
# How a family of prometheus_client's registry is written.
_FAMILIES: dict[Exposition, Callable[[Any], bytes]] = {
    Exposition.TEXT: generate_latest,
    Exposition.OPENMETRICS: openmetrics_text,
    Exposition.PROTOBUF: protobuf_family,
}


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
        # prometheus_client's own variable: without these lines the page has fewer series.
        created = os.environ.get(_CREATED, "").strip().lower() not in ("true", "1", "t")
        self._text, self._openmetrics = TextWriter(False), TextWriter(True, created)
        self._native = NativeWriter()
        self._classic = ClassicBuckets()

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

    def _write(self, exposition: Exposition, add: Add) -> Steps[None]:
        reading = yield from self.service.steps()
        registry = partial(registry_text, _FAMILIES[exposition], reading.several)
        further = registry if self.shows_registry else lambda _: b""
        about = reading.resource.attributes
        classic = yield from self._classic.steps(reading.snapshot)
        if exposition is Exposition.PROTOBUF:
            slices = self._native.slices(reading.snapshot, classic, about, further)
        else:
            writer = self._openmetrics if exposition is Exposition.OPENMETRICS else self._text
            slices = writer.slices(classic, about, further)
        for parts in slices:
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
