"""OpenTelemetry's Prometheus reader, with what it takes to be served."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricsData
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client import Metric as PrometheusMetric
from prometheus_client.registry import Collector

from telemetry.quiet import quiet_logger
from telemetry.sdk.conflicts import without_conflicts
from telemetry.sdk.exposition import Exposition
from telemetry.sdk.overflow import tell_of_overflow
from telemetry.sdk.server import MetricsServer
from telemetry.sdk.shutdown import at_end
from telemetry.sdk.workers.family import family
from telemetry.sdk.workers.sharing import Sharing

_logger = quiet_logger(__name__)

# Workers start together: whoever has the port may not have said so yet.
_TRIES = 5
_SERVERS_TURN = 1.0


class EndpointReader(PrometheusMetricReader):
    """Shows a meter provider's metrics on the application's ``/metrics``.

    It is OpenTelemetry's own reader on a registry of its own, not prometheus_client's global
    one: two providers never show each other's numbers. prometheus_client's ``process_*`` and
    ``python_*`` series are in that registry too. In declarative configuration it is the pull
    exporter ``fastapi_prometheus``.

    Parameters:
        host: The address for a port of its own.
        port: A port of its own; the application's ``/metrics`` is then not served. By default
            there is none.
    """

    def __init__(self, host: str | None = None, port: int | None = None) -> None:
        self.host = host or "localhost"
        self.port = port
        self._server: MetricsServer | None = None
        self._refused = 0
        self._sharing: Sharing | None = None
        self._shown = True
        registry = CollectorRegistry()
        registry.register(
            _ProcessMetrics(lambda: self._sharing is None or not self._sharing.several)
        )
        super().__init__(scope_info_enabled=False, registry=registry)
        self.exposition = Exposition(registry)
        _unclaimed.append(self)

    def share(self) -> None:
        """Show the whole service where this process is one of its workers, from now on.

        To be called in the process that serves the application, when it is about to.
        """
        with suppress(RuntimeError):
            self.exposition.turns.loop = asyncio.get_running_loop()
        name = family()
        if name is None or self._sharing is not None:
            return
        try:
            self._sharing = Sharing(name)
        except OSError as error:
            _logger.error("Each worker shows its own metrics only: %s", error)
            return
        self._sharing.start(self._publish_and_listen)
        at_end(self.publish)

    def publish(self) -> None:
        """Let the other workers of the service know what this one has measured."""
        with self.exposition.reading, self.exposition.turns.taken():
            self._shown = False
            try:
                self.collect()
            finally:
                self._shown = True

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> None:
        if self._sharing is not None:
            if not self._shown:
                self._sharing.publish(metrics_data)
                return
            metrics_data = self._sharing.added_up(metrics_data)
        tell_of_overflow(metrics_data)
        super()._receive_metrics(without_conflicts(metrics_data), timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Do nothing, as nothing waits to be sent.

        The SDK's own would collect, and what it has collected would be in the next scrape
        twice.
        """
        return True

    def listen(self) -> None:
        """Serve the metrics on the port of their own, if there is one and it is not served yet.

        A port that is taken costs a log line. The metrics are not shown elsewhere then:
        who gives them a port of their own does not want them on the public one. Of several
        workers one serves the port for all, and when it has ended another one does.
        """
        if self.port is None or self._server is not None:
            return
        try:
            self._server = MetricsServer(self.exposition, self.host, self.port)
        except (OSError, OverflowError) as error:
            self._refused += 1
            if self._sharing is not None and (
                self._refused < _TRIES or self._sharing.has_listener()
            ):
                return
            _logger.error(
                "The metrics are not served: cannot listen on %s port %s (%s). Choose another "
                "with OTEL_EXPORTER_PROMETHEUS_HOST and OTEL_EXPORTER_PROMETHEUS_PORT.",
                self.host,
                self.port,
                getattr(error, "strerror", None) or error,
            )
        else:
            self._refused = 0
            if self._sharing is not None:
                self._sharing.become_listener()

    def listen_soon(self) -> None:
        """Call `listen` when the application's own server has its port.

        It listens after the application has started: a port that was given to both would be
        taken from it.
        """
        try:
            asyncio.get_running_loop().call_later(_SERVERS_TURN, self.listen)
        except RuntimeError:
            self.listen()

    def _publish_and_listen(self) -> None:
        self.publish()
        self.listen()


class _ProcessMetrics(Collector):
    """prometheus_client's own metrics of the process, where the process is the service."""

    def __init__(self, shown: Callable[[], bool]) -> None:
        self._shown = shown
        self._collectors: list[Collector] = [
            ProcessCollector(registry=None),
            PlatformCollector(registry=None),
            GCCollector(registry=CollectorRegistry()),
        ]

    def collect(self) -> Iterable[PrometheusMetric]:
        if self._shown():
            for collector in self._collectors:
                yield from collector.collect()


_unclaimed: list[EndpointReader] = []
_readers: WeakKeyDictionary[MeterProvider, EndpointReader | None] = WeakKeyDictionary()


def claim_reader(provider: MeterProvider) -> None:
    """Note the reader that configuration has just made for a provider, or that it made none."""
    _readers[provider] = _unclaimed[-1] if _unclaimed else None
    _unclaimed.clear()


def reader_of(provider: MeterProvider) -> EndpointReader | None:
    """The reader that shows a meter provider's metrics.

    Parameters:
        provider: A provider. One that configuration made has a reader where it was asked for;
            one that the application made is given one. One that takes none (another vendor's)
            is logged as a warning and has none.
    """
    if provider not in _readers:
        _readers[provider] = _attach(provider)
    return _readers[provider]


def _attach(provider: MeterProvider) -> EndpointReader | None:
    add_metric_reader = getattr(provider, "add_metric_reader", None)
    if add_metric_reader is None:
        _logger.warning(
            "/metrics is not served: the global meter provider, %s.%s, takes no further metric "
            "reader. Set an opentelemetry.sdk.metrics.MeterProvider instead, or none.",
            type(provider).__module__,
            type(provider).__qualname__,
        )
        return None
    reader = EndpointReader()
    _unclaimed.clear()
    add_metric_reader(reader)
    return reader
