"""The metric readers of a provider, all of which export what the service has measured."""

from typing import Any

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

from telemetry.compatibility.readers import (
    add_metric_reader,
    has_delta_temporality,
    has_exponential_histograms,
    metric_readers,
    resource_of,
    when_reader_is_added,
    without_exponential_histograms,
)
from telemetry.logger import limited_logger
from telemetry.providers import once_per_provider
from telemetry.sdk.exposition.reader import EndpointReader
from telemetry.sdk.push import Push, push_deltas
from telemetry.sdk.service import Service
from telemetry.sdk.shutdown import own_shutdown, register_for_shutdown
from telemetry.sdk.workers.group import worker_group

_logger = limited_logger(__name__)


class Readers:
    """Has each reader of a provider export the sum over all workers, those that join later too.

    A provider that configuration has made has the readers that were asked for. Any other one is
    given a reader for ``/metrics``; where it takes none, as another vendor's, a log line says so.
    `services` are what the readers export.
    """

    def __init__(
        self,
        provider: MeterProvider,
        configured: bool = False,
        native_histograms: bool | None = None,
    ) -> None:
        self.endpoint: EndpointReader | None = None
        self.services: list[Service] = []
        self._resource = resource_of(provider)
        # Exponential histograms are shared apart from those with explicit buckets.
        self._by_histogram: dict[bool, Service] = {}
        self._pushes: list[Push] = []
        self._deltas: list[MetricReader] = []
        self._configured = provider if configured else None
        readers = metric_readers(provider)
        if not configured:
            self._attach_endpoint(provider, native_histograms)
        for reader in sorted(readers, key=lambda each: not isinstance(each, EndpointReader)):
            self.add(reader)
        when_reader_is_added(provider, self.add)

    def add(self, reader: MetricReader) -> None:
        """Have a reader that pushes or serves ``/metrics`` export what the service has measured."""
        if isinstance(reader, EndpointReader):
            self.endpoint = reader
            self._share(reader.service, reader.native_histograms)
        elif isinstance(reader, PeriodicExportingMetricReader):
            if not self._pushes and not self._deltas:
                self._flush_at_the_end()
            if has_delta_temporality(reader):
                self._add_deltas(reader)
                return
            exponential = has_exponential_histograms(reader)
            if exponential not in self._by_histogram:
                explicit = "-explicit" if self._by_histogram else ""
                suffix = "-exponential" if exponential else explicit
                self._share(Service(reader, suffix), exponential)
            self._pushes.append(Push(reader, self._by_histogram[exponential]))

    def _share(self, service: Service, exponential: bool) -> None:
        service.resource = self._resource
        self._by_histogram[exponential] = service
        self.services.append(service)

    def _add_deltas(self, reader: MetricReader) -> None:
        self._deltas.append(reader)
        push_deltas(reader)
        if worker_group() is not None:
            _logger.warning(
                "Each worker pushes deltas of its own, under its own service.instance.id. Only "
                "cumulative metrics are added up first: "
                "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=cumulative."
            )

    def _attach_endpoint(self, provider: MeterProvider, native_histograms: bool | None) -> None:
        reader = EndpointReader(native_histograms=native_histograms)
        if add_metric_reader(provider, reader):
            without_exponential_histograms(provider, reader)
            self.add(reader)
            return
        _logger.warning(
            "/metrics is not served: the global meter provider, %s.%s, takes no further metric "
            "reader. Set an opentelemetry.sdk.metrics.MeterProvider instead, or none.",
            type(provider).__module__,
            type(provider).__qualname__,
        )

    def _flush_at_the_end(self) -> None:
        if self._configured is None:
            register_for_shutdown(self._flush, self._close)
        else:
            own_shutdown(self._configured, self._flush, self._close)

    def _flush(self) -> None:
        for service in self.services:
            service.flush()
        for reader in self._deltas:
            reader.force_flush()

    def _close(self) -> None:
        self._flush()
        for push in self._pushes:
            push.close()
        provider: Any = self._configured
        if provider is not None:
            provider.shutdown()


readers_of = once_per_provider(Readers)
"""The readers of a meter provider, which are looked at when this is first asked for."""
